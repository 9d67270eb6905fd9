//! Type supports, loaded at run time.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;
use r2r_rcl::rosidl_message_type_support_t;

use super::definition::installed;
use super::{RawError, TypeName};

/// What rcl needs to know of a message type, from its package's `rosidl_typesupport_c` library.
#[derive(Debug)]
pub struct TypeSupport {
    handle: *const rosidl_message_type_support_t,
    kind: TypeName,
    /// Holds the code and data that `handle` points to.
    _library: Library,
}

// SAFETY: the handle points to constant data of a library that stays loaded; rcl only reads it.
unsafe impl Send for TypeSupport {}
// SAFETY: as above; nothing is written through the handle.
unsafe impl Sync for TypeSupport {}

/// Supports already loaded: ROS never unloads its libraries either, and unloading one that started threads is unsafe.
static LOADED: Mutex<BTreeMap<TypeName, Arc<TypeSupport>>> = Mutex::new(BTreeMap::new());

impl TypeSupport {
    /// The support of a type, from the ament prefixes given. Loaded once and kept for the life of the process.
    ///
    /// # Errors
    /// When the library is not installed, does not load, or lacks the type.
    pub fn load(kind: &TypeName, prefixes: &[PathBuf]) -> Result<Arc<Self>, RawError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.get(kind) {
            return Ok(known.clone());
        }
        let support = Arc::new(Self::open(kind, prefixes)?);
        loaded.insert(kind.clone(), support.clone());
        Ok(support)
    }

    fn open(kind: &TypeName, prefixes: &[PathBuf]) -> Result<Self, RawError> {
        type GetHandle = unsafe extern "C" fn() -> *const rosidl_message_type_support_t;
        let file = format!("lib/lib{}__rosidl_typesupport_c.so", kind.package());
        let path = installed(kind, &file, prefixes)?;
        let wrong =
            |reason: String| RawError::Definition { kind: kind.to_string(), file: path.clone(), reason };
        // SAFETY: loading runs the library's initialisers. It lies in a prefix that the user sourced, where r2r takes the
        // same libraries from.
        let library = unsafe { Library::new(&path) }.map_err(|error| wrong(error.to_string()))?;
        let symbol = format!(
            "rosidl_typesupport_c__get_message_type_support_handle__{}__msg__{}",
            kind.package(),
            kind.name()
        );
        // SAFETY: rosidl generates this function with this signature for every message type.
        let handle = unsafe {
            let get = library.get::<GetHandle>(&symbol).map_err(|error| wrong(error.to_string()))?;
            get()
        };
        if handle.is_null() {
            return Err(wrong(format!("{symbol} gave no type support")));
        }
        Ok(Self { handle, kind: kind.clone(), _library: library })
    }

    /// The type.
    pub fn kind(&self) -> &TypeName {
        &self.kind
    }

    /// What rcl takes; valid as long as `self`.
    pub(super) fn handle(&self) -> *const rosidl_message_type_support_t {
        self.handle
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::prefixes;
    use super::*;

    #[test]
    fn loads_types_that_were_not_compiled_in_and_refuses_others() {
        // nav_msgs is not among the packages that r2r generates (`IDL_PACKAGE_FILTER`).
        let kind: TypeName = "nav_msgs/msg/Odometry".parse().unwrap();
        let support = TypeSupport::load(&kind, &prefixes()).unwrap();
        assert_eq!(support.kind(), &kind);
        assert!(Arc::ptr_eq(&support, &TypeSupport::load(&kind, &prefixes()).unwrap()));
        let refuse =
            |name: &str| TypeSupport::load(&name.parse().unwrap(), &prefixes()).unwrap_err().to_string();
        assert!(
            refuse("no_such_msgs/msg/Image").contains("libno_such_msgs__rosidl_typesupport_c.so is in none")
        );
        assert!(refuse("sensor_msgs/msg/NoSuch").contains("NoSuch"));
    }
}
