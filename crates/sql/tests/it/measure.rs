//! Not a test: prints what an analysis costs. `cargo test --release -- --ignored measure --nocapture`.

use std::{hint::black_box, time::Instant};

use portcullis_sql::{Analyzer, AnalyzerConfig, MaskMap, SearchPath, SearchPaths};

use crate::{
    database::{CATALOG, Remembering, paths},
    masks::database::{Database, rules},
};

#[test]
#[ignore = "prints timings, asserts nothing"]
fn measure() {
    let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    let texts = [
        ("point", "SELECT id, total, status FROM orders WHERE id = 42 AND status = 'open'"),
        (
            "join",
            "SELECT o.id, c.name, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id LEFT JOIN app.events e \
             ON e.id = o.id WHERE o.status = 'open' AND c.name LIKE 'a%' GROUP BY o.id, c.name ORDER BY 3 DESC LIMIT 20",
        ),
    ];
    for (name, text) in texts {
        let time = |what: &str, rounds: u32, work: &mut dyn FnMut(u32)| {
            (0..rounds / 10 + 1).for_each(&mut *work);
            let start = Instant::now();
            (0..rounds).for_each(work);
            println!("{name:>6} {what:<28} {:>8} ns", start.elapsed().as_nanos() / u128::from(rounds));
        };
        time("cold parse and walk", 2_000, &mut |_| drop(black_box(analyzer.analyze_fresh(text))));
        time("cached by exact text", 200_000, &mut |_| drop(black_box(analyzer.analyze(text))));
        let varied: Vec<_> = (0..20_000).map(|n| text.replace("'open'", &format!("'open{n}'"))).collect();
        time("cached without literals", 100_000, &mut |n| {
            drop(black_box(analyzer.analyze(&varied[n as usize % varied.len()])));
        });
        let analysis = analyzer.analyze(text).unwrap();
        let paths = paths();
        time("resolve", 50_000, &mut |_| drop(black_box(analysis.resolve(&*CATALOG, &paths, &Remembering))));
    }
    let [database, _] = Database::both();
    let paths = SearchPaths::known(SearchPath::new(["app"]), "agent");
    for (name, text) in [
        ("clear", "SELECT id, total FROM orders WHERE id = 42 AND note = 'open'"),
        ("masked", "SELECT id, card_number, status FROM payments WHERE id = 42 AND status = 'open'"),
        (
            "joined",
            "WITH p AS (SELECT * FROM payments) SELECT c.name, p.card_number, count(*) OVER (PARTITION BY p.status) \
             FROM p JOIN customers c ON c.id = p.customer_id LEFT JOIN orders o ON o.id = p.id WHERE o.note LIKE 'a%' ORDER BY 1",
        ),
    ] {
        let analysis = analyzer.analyze(text).unwrap();
        let start = Instant::now();
        for _ in 0..50_000 {
            drop(black_box(analysis.masked(&database.masks, &database.catalog, &paths, &Remembering)));
        }
        println!("{name:>6} {:<28} {:>8} ns", "masked", start.elapsed().as_nanos() / 50_000);
    }
    let start = Instant::now();
    drop(black_box(MaskMap::build(&database.catalog, &rules())));
    println!("{:>6} {:<28} {:>8} ns", "map", "build, 29 views", start.elapsed().as_nanos());
}
