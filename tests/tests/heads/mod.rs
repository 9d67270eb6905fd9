//! The small heads whose numbers PyTorch made (`golden/make_heads.py`, `golden/make_head_gradients.py`).

use calibration::Size;
use network::bundle::random_model;
use network::{Architecture, HeadKind, HeadSpec, Meaning};

/// Size of the input, pixels.
pub const SIZE: Size = Size { width: 48, height: 32 };

/// The encoder whose tokens the heads read.
pub fn architecture() -> Architecture {
    let tiny = Architecture::named("pixio-tiny16").unwrap();
    Architecture { dim: 8, blocks: 4, heads: 2, mlp_hidden: 32, ..tiny }
}

/// A head as the scripts made it: five numbers of state, four actions, three classes.
pub fn spec(kind: HeadKind) -> HeadSpec {
    let heads = [("head".to_owned(), kind)];
    let model = random_model(architecture(), &heads, &[SIZE], 1).unwrap();
    let mut spec = model.manifest.heads["head"].clone();
    match &mut spec.meaning {
        Meaning::Policy(policy) => {
            policy.steps = if matches!(spec.kind, HeadKind::ChunkPolicy { .. }) { 6 } else { 1 };
            policy.actions.truncate(4);
            policy.state.truncate(5);
        }
        Meaning::Labels(labels) => labels.truncate(3),
        Meaning::Depth(_) => {}
    }
    spec
}
