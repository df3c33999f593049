//! Compiles the crate anew when the console was built anew. The folder is always there (git keeps it), what is in it is not.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rustc-check-cfg=cfg(console_is_built)");
    if std::path::Path::new("../../web/dist/console/index.html").exists() {
        println!("cargo::rustc-cfg=console_is_built");
    }
}
