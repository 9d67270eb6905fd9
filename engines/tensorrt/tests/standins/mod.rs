//! The stand-in for libcuda and TensorRT, loaded where the engine loads them from.

// Each test file takes a part.
#![allow(dead_code)]

mod make;

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tensorrt::Flavour;

/// The loaded stand-in. One test at a time has it.
pub struct StandIn {
    /// Where the engine finds the libraries.
    pub folder: PathBuf,
    library: libloading::Library,
}

/// The stand-in, with its books reset, for one test.
pub fn stand_in(flavour: Flavour) -> MutexGuard<'static, StandIn> {
    // The loader knows a loaded library by its name, so this is what cudarc gets for `libcuda.so`.
    loaded(|| StandIn::load(&format!("standin-{flavour}"), |folder| make::stand_in(flavour, folder)))
}

/// The stand-in for TensorRT alone, for a real GPU; ready-made where `PIXIO_STANDIN` names its file.
pub fn on_real_driver(flavour: Flavour) -> MutexGuard<'static, StandIn> {
    let made = std::env::var_os("PIXIO_STANDIN").map(PathBuf::from);
    let make = |folder: &Path| make::on_real_driver(flavour, folder);
    let load = || StandIn::load(&format!("standin-on-real-driver-{flavour}"), make);
    loaded(|| made.map_or_else(load, |file| StandIn::open(&file)))
}

fn loaded(load: impl FnOnce() -> StandIn) -> MutexGuard<'static, StandIn> {
    static LOADED: OnceLock<Mutex<StandIn>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| Mutex::new(load()));
    let stand_in = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    stand_in.call::<unsafe extern "C" fn()>("standin_reset", |function| unsafe { function() });
    stand_in
}

impl StandIn {
    fn load(name: &str, make: impl FnOnce(&Path) -> PathBuf) -> Self {
        Self::open(&make(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)))
    }

    fn open(file: &Path) -> Self {
        let folder = file.parent().expect("a folder").to_owned();
        let library = unsafe { libloading::Library::new(file) }.expect("the stand-in");
        Self { folder, library }
    }

    fn call<F: Copy>(&self, name: &str, call: impl FnOnce(F)) {
        let function = unsafe { self.library.get::<F>(name.as_bytes()) }.expect("function of the stand-in");
        call(*function);
    }

    /// Lets the nth call of a name from now on fail.
    pub fn fail(&self, call: &str, nth: c_int) {
        let name = CString::new(call).expect("name");
        type Fail = unsafe extern "C" fn(*const c_char, c_int);
        self.call::<Fail>("standin_fail", |function| unsafe { function(name.as_ptr(), nth) });
    }

    pub fn set(&self, name: &str, value: c_int) {
        let name = CString::new(name).expect("name");
        type Set = unsafe extern "C" fn(*const c_char, c_int);
        self.call::<Set>("standin_set", |function| unsafe { function(name.as_ptr(), value) });
    }

    fn text(&self, function: &str) -> Vec<String> {
        let mut text = String::new();
        type Text = unsafe extern "C" fn() -> *const c_char;
        self.call::<Text>(function, |function| {
            text = unsafe { CStr::from_ptr(function()) }.to_str().expect("text").to_owned();
        });
        text.lines().map(str::to_owned).collect()
    }

    /// Calls since the last reset.
    pub fn calls(&self) -> Vec<String> {
        self.text("standin_calls")
    }

    /// Calls that begin with one of these, since the last reset.
    pub fn calls_of(&self, names: &[&str]) -> Vec<String> {
        let wanted = |call: &String| names.iter().any(|name| call.starts_with(name));
        self.calls().into_iter().filter(wanted).collect()
    }

    /// Forgets the calls, failures and settings so far.
    pub fn reset(&self) {
        self.call::<unsafe extern "C" fn()>("standin_reset", |function| unsafe { function() });
    }

    /// Objects that live.
    pub fn live(&self) -> Vec<String> {
        self.text("standin_live")
    }
}
