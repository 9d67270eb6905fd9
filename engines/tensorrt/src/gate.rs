//! Versions of TensorRT that are known to compute vision transformers wrongly.
//!
//! 10.3 gives wrong features for DINO-style networks (NVIDIA/TensorRT#4723, #4419, and reports of depth nodes whose scale
//! varies from frame to frame), 10.4 even in fp32 (#4742: cosine 0.018). 10.7 computes an exported fused attention wrongly
//! (#4333); the attention here is written out, so it is only named. No version of TensorRT-RTX is known to fail so.

use crate::library::{Flavour, Version};

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing bad.
    Good,
    /// Something that should not matter here, to be told.
    Warn(String),
    /// Wrong numbers; refused unless many photographs showed otherwise on the very machine. [`remedy`] says what to do.
    KnownBad(String),
}

/// How many photographs must agree with the reference before a version known to be bad is accepted.
pub const LEAST_PHOTOGRAPHS: usize = 16;

/// What is known of a version of a library.
pub fn judge(flavour: Flavour, version: Version) -> Verdict {
    let bad = |why: &str| {
        let computes = "is known to compute wrong vision transformer features";
        Verdict::KnownBad(format!("TensorRT {version} {computes} (NVIDIA/TensorRT {why})"))
    };
    match (flavour, version.major, version.minor) {
        (Flavour::TensorRt, 10, 3) => bad("issues 4419, 4723; JetPack 6.1 and 6.2 ship it"),
        (Flavour::TensorRt, 10, 4) => bad("issue 4742: in fp32 too"),
        (Flavour::TensorRt, 10, 7) => Verdict::Warn(format!(
            "TensorRT {version} is known to compute a fused attention operator wrongly (NVIDIA/TensorRT issue 4333); the \
             networks here write attention out, and parity is checked at every start"
        )),
        _ => Verdict::Good,
    }
}

/// What to do about a version that is known to be bad.
pub fn remedy() -> String {
    format!(
        "use TensorRT 10.16 or later (JetPack 7.2); or `pixio build --accept-known-bad --photographs DIR`, which accepts it for \
         one bundle and one machine when at least {LEAST_PHOTOGRAPHS} photographs agree with the reference engine"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_versions_are_refused() {
        let judge = |flavour, number| judge(flavour, Version::from_number(number));
        for bad in [100_300, 100_301, 100_400] {
            assert!(matches!(judge(Flavour::TensorRt, bad), Verdict::KnownBad(_)), "{bad}");
        }
        assert!(matches!(judge(Flavour::TensorRt, 100_700), Verdict::Warn(_)));
        for good in [100_000, 100_200, 100_600, 101_303, 101_602, 110_400] {
            assert_eq!(judge(Flavour::TensorRt, good), Verdict::Good, "{good}");
        }
        assert_eq!(judge(Flavour::TensorRtRtx, 10_300), Verdict::Good, "another library's 1.3");
    }
}
