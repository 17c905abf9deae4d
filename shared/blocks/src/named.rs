//! Enums whose variants have names that are stored, sent or written in the configuration.

/// Declares an enum with the name of each variant. Names are read in any case.
macro_rules! named {
    (
        $(#[$about:meta])*
        pub enum $enum:ident {
            $($(#[$meta:meta])* $variant:ident = $name:literal),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum {
            $($(#[$meta])* $variant),+
        }

        impl $enum {
            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// The variant with that name.
            pub fn parse(name: &str) -> Option<Self> {
                let mut all = [$(Self::$variant),+].into_iter();
                all.find(|one| one.as_str().eq_ignore_ascii_case(name))
            }
        }
    };
}
