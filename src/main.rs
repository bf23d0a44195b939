//! Arguments in, exit code out.

use std::process::ExitCode;

/// Fewer cycles in malloc on paths that do allocate, and it is measured: docs/adr/0011-libdeflate-and-mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    net::server::raise_file_limit();
    weir::cli::main()
}
