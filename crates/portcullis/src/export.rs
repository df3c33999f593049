//! `portcullis export`: a recording for other programs.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, IsTerminal as _, Write},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use portcullis_record::script::{Exactness, Script};

use crate::{
    failure::Failure,
    sessions::source::{Follow, SourceArgs},
};

/// Writes a recording as JSON lines or as an SQL script.
///
/// JSON lines: one event per line, with its time; see the manual, `recordings.md`. SQL script: the statements that ran, in the
/// order in which they finished, with comments of time, decision and outcome; what was refused, what failed and what is not
/// whole is commented out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// As what
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "jsonl")]
    format: Kind,
    /// Into this new file, which only you can read. Otherwise to standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// One JSON object per line
    Jsonl,
    /// An SQL script
    Sql,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let source = args.source.open()?;
    let to_terminal = args.file.is_none() && io::stdout().is_terminal();
    let (mut out, shown): (Box<dyn Write>, String) = match &args.file {
        Some(path) => {
            let shown = path.display().to_string();
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| {
                Failure::cannot(format!("cannot make `{shown}`: {error}"))
                    .next("name a file that is not there yet")
            })?;
            (Box::new(BufWriter::new(file)), shown)
        }
        None => (Box::new(BufWriter::new(io::stdout().lock())), "standard output".to_owned()),
    };
    let exactness = if to_terminal { Exactness::Visible } else { Exactness::Exact };
    let mut script = Script::new(exactness);
    let mut written = Ok(());
    source.each(args.source.session, Follow::No, |view| {
        let text = match args.format {
            Kind::Jsonl => view.to_line(),
            Kind::Sql => script.take(&view),
        };
        written = out.write_all(text.as_bytes());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let rest = match args.format {
        Kind::Jsonl => String::new(),
        Kind::Sql => script.finish(),
    };
    match written.and_then(|()| out.write_all(rest.as_bytes())).and_then(|()| out.flush()) {
        // Who reads went away (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::cannot(format!("cannot write {shown}: {error}"))),
    }
}
