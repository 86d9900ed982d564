//! Configuration files.

use fennec::cli::config::{Config, Sources};

use crate::fuzz;

/// The example of the documentation.
fn example() -> Vec<u8> {
    let page = include_str!("../../docs/configuration.md");
    let behind = page.split_once("```toml\n").expect("an example").1;
    behind.split_once("```").expect("its end").0.as_bytes().to_vec()
}

#[test]
fn configuration_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fennec.toml");
    fuzz(300, &[example()], |input| {
        std::fs::write(&file, input).unwrap();
        let sources = Sources { file: Some(file.clone()), env: Vec::new(), flags: Vec::new() };
        let _ = Config::load(&sources);
    });
}
