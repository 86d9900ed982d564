//! `GET /`: a page that says what runs where.

use super::{Place, Server};
use crate::node::Node;

/// The page needs nothing from elsewhere, and runs nothing.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>fennec</title>
<style>
:root { color-scheme: light dark; --sand: #c96f2b; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
h1 { margin: 0; letter-spacing: -.02em; } h1 span { color: var(--sand); }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .35rem 1rem .35rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow-x: auto; }
</style>
<h1><span>fennec</span></h1>
<p>One broker in which browsers (WAMP) and devices (MQTT) meet.</p>
";

const PATHS: [(&str, &str); 7] = [
    ("GET /subscribe?topic=…", "events of a topic, as server-sent events"),
    ("POST /publish", "publish: <code>topic</code>, and <code>args</code> or <code>payload</code>"),
    ("POST /call", "call a procedure: <code>procedure</code>, <code>args</code>"),
    ("/ws, /wamp, /mqtt", "WebSocket: WAMP, WAMP, MQTT"),
    ("<a href=\"metrics\">/metrics</a>", "counters for Prometheus"),
    ("<a href=\"healthz\">/healthz</a>", "whether the process lives"),
    ("<a href=\"readyz\">/readyz</a>", "whether it takes work"),
];

impl Server {
    /// The page, for somebody who reached it by the URL `base`.
    pub(super) fn page(&self, realm: &str, base: &str) -> String {
        page(&self.settings.places, &self.node, realm, base)
    }
}

fn page(places: &[Place], node: &Node, realm: &str, base: &str) -> String {
    let (realm, base) = (escape(realm), escape(base));
    let mut html = String::from(HEAD);
    html.push_str("<h2>Listens on</h2>\n<table>\n");
    for Place { what, url } in places {
        html.push_str(&format!("<tr><td>{}<td><code>{}</code>\n", escape(what), escape(url)));
    }
    html.push_str(&format!("<tr><td>Realm<td><code>{realm}</code>\n</table>\n<h2>Here</h2>\n<table>\n"));
    for (path, what) in PATHS {
        html.push_str(&format!("<tr><td><code>{path}</code><td>{what}\n"));
    }
    html.push_str("</table>\n<h2>Try it</h2>\n<p>Listen in one terminal, publish in another:</p>\n");
    let user = if node.users.is_empty() { "" } else { " -u USER" };
    html.push_str(&format!(
        "<pre>curl -N{user} '{base}/subscribe?topic=app.hello'\n\
         curl{user} {base}/publish --json '{{\"topic\": \"app.hello\", \"args\": [\"world\"]}}'</pre>\n"
    ));
    let version = env!("CARGO_PKG_VERSION");
    html.push_str(&format!("<p><small>fennec {version}</small>\n"));
    html
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escape("<a href='x'>\"&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
    }
}
