//! The `fennec` binary: parse what was typed, run it, exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fennec::cli::main()
}
