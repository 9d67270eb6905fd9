//! The features of a dataset that a contract makes.

use super::reading::Decoded;
use super::track::Track;
use crate::contract::{Contract, Pictures, Role, Stream};
use crate::dataset::{Cell, Feature, FeatureKind, Layout, LayoutError};

/// Features that join the numbers of all streams of a role.
const JOINED: [(Role, &str); 4] = [
    (Role::Observation, "observation.state"),
    (Role::Action, "action"),
    (Role::Requested, "rec.requested_action"),
    (Role::Policy, "rec.policy_action"),
];

/// One feature and the streams that it is made of, by their index among the aligned ones.
struct Source {
    feature: Feature,
    streams: Vec<usize>,
}

fn aligned(contract: &Contract) -> Vec<&Stream> {
    contract.streams.iter().filter(|stream| stream.is_aligned()).collect()
}

fn sources(contract: &Contract) -> Vec<Source> {
    let streams = aligned(contract);
    let mut sources = Vec::new();
    for (role, key) in JOINED {
        let of = |index: &usize| streams[*index].role == role && !streams[*index].fields.is_empty();
        let members: Vec<usize> = (0..streams.len()).filter(of).collect();
        let names: Vec<String> =
            members.iter().flat_map(|i| streams[*i].number_names().iter().cloned()).collect();
        if !names.is_empty() {
            let feature = Feature { key: key.to_owned(), kind: FeatureKind::Float32, names };
            sources.push(Source { feature, streams: members });
        }
    }
    for (index, stream) in streams.iter().enumerate() {
        let feature = match (&stream.camera, &stream.size, &stream.tokens) {
            (Some(camera), Some(size), _) => Feature {
                key: format!("observation.images.{camera}"),
                kind: match stream.pictures {
                    Pictures::Video => FeatureKind::Video(*size),
                    Pictures::Image => FeatureKind::Image(*size),
                },
                names: Vec::new(),
            },
            (_, _, Some(tokens)) => Feature {
                key: tokens_key(stream),
                kind: FeatureKind::Float32,
                names: (0..tokens.count)
                    .flat_map(|t| (0..tokens.dim).map(move |d| format!("{t}.{d}")))
                    .collect(),
            },
            _ => continue,
        };
        sources.push(Source { feature, streams: vec![index] });
    }
    sources
}

/// The layout of the dataset that a contract makes.
///
/// # Errors
/// Two streams of a role with elements of one name, or what LeRobot cannot hold.
pub fn layout(contract: &Contract) -> Result<Layout, LayoutError> {
    let features = sources(contract).into_iter().map(|source| source.feature).collect();
    let streams = aligned(contract);
    let names = streams.iter().map(|stream| stream.name.clone()).collect();
    let layout = Layout::new(contract.fps, &contract.robot_type, features, names);
    let tokens = streams.iter().filter_map(|stream| Some((tokens_key(stream), stream.tokens.as_ref()?)));
    tokens.fold(layout, |layout, (key, tokens)| layout?.with_encoder(&key, &tokens.encoder_id))
}

/// The feature that a stream of class tokens becomes.
fn tokens_key(stream: &Stream) -> String {
    format!("observation.features.{}", stream.name)
}

/// The values of a row, in the layout's order.
pub(super) fn cells(plan: &[Vec<usize>], tracks: &[Track]) -> Vec<Cell> {
    let cell = |streams: &Vec<usize>| {
        let mut numbers = Vec::new();
        for stream in streams {
            match tracks[*stream].decoded() {
                Some(Decoded::Picture(picture)) => return Cell::Picture(picture.clone()),
                Some(Decoded::Numbers(more)) => numbers.extend_from_slice(more),
                None => {}
            }
        }
        Cell::Float32(numbers)
    };
    plan.iter().map(cell).collect()
}

/// Which aligned streams each feature of the layout takes.
pub(super) fn plan(contract: &Contract) -> Vec<Vec<usize>> {
    sources(contract).into_iter().map(|source| source.streams).collect()
}
