//! HTTP.

use super::{Held, Target, say, say_each};
use crate::dice::Dice;

fn post(path: &str, length: usize) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

fn post_whole(path: &str, body: &[u8]) -> Vec<u8> {
    [&post(path, body.len())[..], body].concat()
}

pub fn slow_heads(target: &Target, dice: &mut Dice) -> Held {
    let whole = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\n";
    say_each(target.http, &(0..6).map(|_| whole[..dice.roll(whole.len())].to_vec()).collect::<Vec<_>>())
}

/// Much is announced, and little comes.
pub fn slow_bodies(target: &Target, dice: &mut Dice) -> Held {
    let path = ["/publish", "/call", "/lp/open", "/lp/x/send", "/hooks/x"][dice.roll(5)];
    let chunked = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n{{");
    let small = [&post(path, 100)[..], b"{"].concat();
    let large = [&post(path, 16_000_000)[..], &vec![b' '; 100_000]].concat();
    say_each(target.http, &[small, large, chunked.into_bytes()])
}

pub fn long_heads(target: &Target, dice: &mut Dice) -> Held {
    let many: String = (0..2000).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(500_000 + dice.roll(500_000)));
    let begin = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(100_000));
    say_each(target.http, &[format!("{begin}{many}\r\n").into(), format!("{begin}{long}\r\n").into(), path.into()])
}

pub fn bad_bodies(target: &Target, dice: &mut Dice) -> Held {
    let nested = "[".repeat(200_000).into_bytes();
    let bodies: [&[u8]; 5] = [b"{", b"\xff\xfe", b"{\"topic\":1}", b"{\"topic\":\"a..b\",\"args\":7}", &nested];
    let path = ["/publish", "/call", "/lp/open"][dice.roll(3)];
    let all: Vec<u8> = bodies.iter().flat_map(|body| post_whole(path, body)).collect();
    let wrong = [
        "GET /subscribe?topic=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /subscribe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic !!!\r\n\r\n",
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n",
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YWxpY2U6Z3Vlc3M=\r\nContent-Length: 2\r\n\r\n{}",
    ];
    say_each(target.http, &[all, wrong[dice.roll(4)].into()])
}

pub fn noise(target: &Target, dice: &mut Dice) -> Held {
    let len = dice.roll(3000);
    say_each(target.http, &[dice.bytes(len), b"GET / HTTP/9.9\r\n\r\n".to_vec(), b"\r\n\r\n\r\n\r\n".to_vec()])
}

/// Transports that are opened and left, messages for such as there are not.
pub fn polls_that_nobody_asks_for(target: &Target, _: &mut Dice) -> Held {
    let open = post_whole("/lp/open", br#"{"protocols":["wamp.2.json"]}"#);
    say_each(target.http, &[open.repeat(5), post_whole("/lp/AAAA/send", b"[]"), post_whole("/lp/AAAA/receive", b"")])
}

pub fn subscriptions_that_nobody_reads(target: &Target, dice: &mut Dice) -> Held {
    let topic = format!("loud.{}", dice.roll(8));
    let subscribe = format!("GET /subscribe?topic={topic} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let body = format!(r#"{{"topic":"{topic}","args":["{}"]}}"#, "x".repeat(20_000));
    let mut held = say(target.http, &[subscribe.as_bytes()]);
    held.extend(say(target.http, &[&post_whole("/publish", body.as_bytes()).repeat(10)]));
    held
}
