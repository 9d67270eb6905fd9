//! Why a URDF was refused.

/// A robot description was refused.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}: {fault}")]
pub struct RobotError {
    /// The file, or the topic, that the description came from.
    pub source_name: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a robot description.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file system said no.
    #[error("{0}")]
    Io(std::io::Error),
    /// Not XML that a URDF could be.
    #[error("{0}")]
    Xml(String),
    /// An attribute does not hold the numbers that belong there.
    #[error("line {line}: {place}: {attribute}: expected {expected}, got {came:?}")]
    Number {
        /// Line of the element.
        line: u32,
        /// Link or joint, and element.
        place: String,
        /// Attribute.
        attribute: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What came.
        came: String,
    },
    /// Two links or two joints of one name.
    #[error("{what} {name}: expected different names, got this one twice")]
    Repeated {
        /// `link` or `joint`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that nothing has.
    #[error("joint {joint}: {role} {name}: no such {what}")]
    Unknown {
        /// The joint that names it.
        joint: String,
        /// `parent`, `child` or `mimic`.
        role: &'static str,
        /// The name.
        name: String,
        /// `link` or `joint`.
        what: &'static str,
    },
    /// Links and joints are no tree.
    #[error("expected one tree of links, got {0}")]
    Tree(String),
    /// A joint that cannot be used.
    #[error("joint {joint}: {problem}")]
    Joint {
        /// The joint.
        joint: String,
        /// What was expected and what came.
        problem: String,
    },
    /// A shape that cannot be used.
    #[error("link {link}: {problem}")]
    Shape {
        /// The link.
        link: String,
        /// What was expected and what came.
        problem: String,
    },
}
