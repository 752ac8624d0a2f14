//! What people call their things: short, readable, and no trap for whoever reads it in a
//! list, a log or a letter.

/// Ends the sentence that a refused name is answered with.
pub const RULE: &str = "has 1 to 64 printable characters";

/// Declares what people call one kind of thing, refused with that kind's own failure.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $error:ident::$refused:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// One that is in the store already, and was checked on its way there.
            pub fn kept(text: String) -> Self {
                Self(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                $crate::names::checked(text).map(Self).ok_or($error::$refused)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
    };
}
pub(crate) use name;

/// The name without what surrounds it, if it follows the rule.
pub fn checked(text: &str) -> Option<String> {
    let name = text.trim();
    let is_short = (1..=64).contains(&name.chars().count());
    (is_short && name.chars().all(is_printable) && joins_what_joins(name)).then(|| name.to_owned())
}

/// Joiners have no width. Persian and Indic words and many emoji are not written without
/// them; between letters of scripts that do not join, one would only hide.
fn joins_what_joins(name: &str) -> bool {
    const ARABIC: char = '\u{600}';
    let mut before = None;
    let mut characters = name.chars().peekable();
    while let Some(it) = characters.next() {
        let after = characters.peek().copied();
        let is_between = before >= Some(ARABIC) && after >= Some(ARABIC);
        if matches!(it, '\u{200c}' | '\u{200d}') && !is_between {
            return false;
        }
        before = Some(it);
    }
    true
}

/// Whether it is seen, and leaves what stands around it as it is: neither a control
/// character, nor of no width, nor one that turns the direction of reading.
fn is_printable(it: char) -> bool {
    let hides = matches!(
        it,
        '\u{061c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    );
    !it.is_control() && !hides
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRAPS: [char; 12] = [
        '\0', '\u{7}', '\n', '\u{85}', '\u{61c}', '\u{200b}', '\u{200d}', '\u{2028}', '\u{202e}',
        '\u{2060}', '\u{2066}', '\u{feff}',
    ];

    #[test]
    fn a_name_is_trimmed_and_counted_in_characters() {
        assert_eq!(checked("  Support bot "), Some("Support bot".to_owned()));
        for good in
            ["a", "ключ", "株式会社", "R&D <7>", "می\u{200c}روم", "👩\u{200d}💻", &"ж".repeat(64)]
        {
            assert_eq!(checked(good).as_deref(), Some(good));
        }
        for bad in ["", " ", "\u{3000}", "\u{200d}💻", "👩\u{200d}", "a\u{200c}م", &"x".repeat(65)]
        {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_checked_name_is_short_and_stays_as_it_is(text in "\\PC{0,80}|.{0,80}") {
            if let Some(name) = checked(&text) {
                prop_assert!((1..=64).contains(&name.chars().count()));
                prop_assert!(!name.contains(TRAPS) && !name.contains(char::is_control));
                prop_assert_eq!(checked(&name), Some(name));
            }
        }

        #[test]
        fn no_trap_gets_in(
            before in "[a-zж]{1,20}",
            trap in prop::sample::select(TRAPS.to_vec()),
            after in "[a-zж]{1,20}",
        ) {
            prop_assert_eq!(checked(&format!("{before}{trap}{after}")), None);
            prop_assert_eq!(checked(&format!("{before}{after}")), Some(format!("{before}{after}")));
        }
    }
}
