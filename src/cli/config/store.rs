//! `store`: a folder or a database.

use super::setting::{Reader, Setting, Shape};
use super::value::Node;
use crate::store::StoreUrl;

/// Where state is kept, as `store` says it.
#[derive(Clone, Debug)]
pub(super) struct StoreText(pub StoreUrl);

/// A folder in a file is relative to the file. What is wrong is said without quoting: there may be a password in it.
impl Setting for StoreText {
    const SHAPE: Shape = Shape::Value("path, or text such as \"postgres://user:password@host/database\"");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = String::read(node, reader)?;
        let wrong = match (text.split_once("://"), text.as_str()) {
            (_, "") => Some("must not be empty".to_owned()),
            (Some(("postgres" | "postgresql", "")), _) => Some("names no database".to_owned()),
            (Some(("postgres" | "postgresql" | "sqlite", rest)), _) if rest.contains(char::is_whitespace) => {
                Some("contains white space: write it as %20".to_owned())
            }
            (Some(("postgres" | "postgresql" | "sqlite", _)), _) | (None, _) => None,
            (Some((scheme, _)), _) => Some(format!("begins with {scheme}://, expected postgres:// or a folder")),
        };
        if let Some(what) = wrong {
            reader.wrong(&node.origin, what);
            return None;
        }
        Some(StoreText(match StoreUrl::parse(&text) {
            StoreUrl::Folder(path) => {
                StoreUrl::Folder(node.origin.folder().map_or_else(|| path.clone(), |folder| folder.join(&path)))
            }
            other => other,
        }))
    }

    fn show(&self) -> Option<String> {
        None
    }
}
