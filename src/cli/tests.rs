//! What is typed, up to the subcommand that gets it.

use super::config::Flag;
use super::*;

fn parse(arguments: &[&str]) -> Result<Args, Failure> {
    let arguments = ["fennec"].iter().chain(arguments);
    Args::try_parse_from(arguments).map_err(|error| Failure::Refused(vec![one_line(&error)]))
}

/// The flags that `serve` gets, as `name key value`.
fn flags(arguments: &[&str]) -> Vec<String> {
    let args = parse(arguments).unwrap();
    let serve = match args.command {
        None => args.serve,
        Some(Command::Serve(serve)) => serve,
        Some(other) => panic!("{other:?}"),
    };
    let show = |flag: Flag| format!("{} {} {}", flag.name, flag.key, flag.value);
    serve.sources().flags.into_iter().map(show).collect()
}

#[test]
fn flags_of_serve_are_the_same_with_and_without_its_name() {
    let given =
        ["--mqtt", "127.0.0.1:1", "--mqtt", "127.0.0.1:2", "--memory", "--log-format", "json", "--set", "a.b = c=d"];
    let named: Vec<&str> = ["serve"].into_iter().chain(given).collect();
    let expected = [
        "--mqtt listen.mqtt 127.0.0.1:1,127.0.0.1:2",
        "--memory memory true",
        "--log-format log_format json",
        "--set a.b a.b c=d",
    ];
    assert_eq!(flags(&given), expected);
    assert_eq!(flags(&named), expected);
    assert_eq!(flags(&[]), [""; 0]);
}

#[test]
fn every_flag_stands_for_a_key_that_exists() {
    let typed =
        ["--mqtt", "off", "--http", "off", "--rawsocket", "127.0.0.1:0", "--data", "x", "--anonymous", "--log", "warn"];
    let sources = parse(&typed).unwrap().serve.sources();
    let sources = config::Sources { env: Vec::new(), ..sources };
    let config = config::Config::load(&sources).unwrap();
    assert_eq!((config.listeners.len(), config.log.as_str()), (1, "warn"));
}

#[test]
fn what_cannot_be_understood_is_told_in_one_line() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["--mqt", "x"],
            "unexpected argument '--mqt' found; tip: a similar argument exists: '--mqtt'; see `fennec --help`",
        ),
        (&["bogus"], "unrecognized subcommand 'bogus'; see `fennec --help`"),
        (
            &["--data", "x", "--memory"],
            "the argument '--data <DIR>' cannot be used with '--memory'; see `fennec --help`",
        ),
        (&["--set", "x"], "invalid value 'x' for '--set <KEY=VALUE>': must be KEY=VALUE; see `fennec --help`"),
        (&["--mqtt"], "a value is required for '--mqtt <ADDR>' but none was supplied; see `fennec --help`"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(parse(arguments).unwrap_err(), Failure::Refused(vec![expected.to_owned()]), "{arguments:?}");
    }
}

#[test]
fn the_exit_code_tells_who_must_act() {
    assert_eq!(Failure::Run("disk".into()).code(), 1);
    assert_eq!(Failure::Refused(vec!["typo".into()]).code(), 2);
}

#[test]
fn the_definition_of_the_arguments_is_sound() {
    use clap::CommandFactory;
    Args::command().debug_assert();
}
