//! The `postern` program.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

// Without huge pages: an idle SSH session holds a third less, since much of its queues is never touched.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = postern::cli::Cli::parse();
    // The first provider stays; here nobody else has named one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli.run()
}
