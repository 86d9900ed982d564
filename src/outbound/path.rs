//! Over which links between brokers an event has come: a user property that travels with it, so that it never goes round.
//!
//! Each link has a name that no other has. Where an event crosses a link its name is added, on whichever end the link's owner is;
//! an event that has crossed a link does not cross it again. MQTT 3.1.1 cannot carry this: there it is known only as long as the
//! event is at the broker that owns the link.

use crate::types::event::Properties;

/// The user property: names of links, separated by blanks.
pub const PATH: &str = "fennec_path";

/// Whether an event has crossed the link of this name.
pub fn has_crossed(properties: &Properties, link: &str) -> bool {
    links(properties).any(|crossed| crossed == link)
}

/// The names of the links that an event has crossed.
pub fn links(properties: &Properties) -> impl Iterator<Item = &str> {
    let paths = properties.user_properties.iter().filter(|(key, _)| key == PATH);
    paths.flat_map(|(_, path)| path.split_ascii_whitespace())
}

/// Notes that an event crosses a link.
pub fn cross(properties: &mut Properties, link: &str) {
    match properties.user_properties.iter_mut().find(|(key, _)| key == PATH) {
        Some((_, path)) => {
            path.push(' ');
            path.push_str(link);
        }
        None => properties.user_properties.push((PATH.to_owned(), link.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_that_was_crossed_is_known_by_its_whole_name() {
        let mut properties = Properties::default();
        assert!(!has_crossed(&properties, "a"));
        cross(&mut properties, "a.plant");
        cross(&mut properties, "b");
        assert!(has_crossed(&properties, "a.plant") && has_crossed(&properties, "b"));
        assert!(!has_crossed(&properties, "a") && !has_crossed(&properties, "plant"));
        assert_eq!(properties.user_properties, [(PATH.to_owned(), "a.plant b".to_owned())]);
    }
}
