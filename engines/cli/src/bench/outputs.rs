//! What of a frame's results is written as messages, as perception_node does for its subscribers.

use anyhow::{Result, anyhow, bail};
use calibration::Size;
use perception::points::Rays;
use perception::{Engine, FeatureMap, ImageGeometry, Outputs, Pipeline, Wanted};
use wire::results::{self, DepthEncoding};
use wire::{Header, Written};

/// A message of perception_node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// depth/image_rect
    Depth,
    /// color/image_rect
    Color,
    /// points: of a point map head, else of the depth
    Points,
    /// confidence of a point map head
    Confidence,
    /// segmentation
    Segmentation,
    /// action_chunk: computed, its small message is not written
    Actions,
    /// features/cls and features/patches
    Features,
}

/// Which messages, and the memory that they are written into again and again.
pub struct Messages {
    kinds: Vec<Kind>,
    written: [Written; 7],
    classes: usize,
}

impl Messages {
    /// The messages asked for; of none what the bundle's heads give, each head's own.
    ///
    /// # Errors
    /// A message that none of the bundle's heads gives.
    pub fn new<E: Engine>(asked: &[Kind], pipeline: &Pipeline<E>) -> Result<Self> {
        let gives = |kind: &Kind| match kind {
            Kind::Depth => pipeline.depth_range().is_some(),
            Kind::Points => pipeline.has_points() || pipeline.depth_range().is_some(),
            Kind::Confidence => pipeline.has_points(),
            Kind::Segmentation => pipeline.labels().is_some(),
            Kind::Actions => pipeline.policy().is_some(),
            Kind::Color | Kind::Features => true,
        };
        if let Some(kind) = asked.iter().find(|kind| !gives(kind)) {
            bail!("--outputs: {kind:?} was asked for, and the bundle has no head that gives it");
        }
        let mut own = vec![Kind::Depth, Kind::Segmentation, Kind::Actions];
        own.extend(pipeline.has_points().then_some(Kind::Points));
        own.retain(gives);
        if own.is_empty() {
            own.push(Kind::Features);
        }
        let kinds = if asked.is_empty() { own } else { asked.to_vec() };
        let classes = pipeline.labels().map_or(0, <[String]>::len);
        Ok(Self { kinds, written: Default::default(), classes })
    }

    /// Names of the messages, for reports.
    pub fn names(&self) -> Vec<String> {
        self.kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect()
    }

    /// Whether a policy's actions are among them.
    pub fn has_actions(&self) -> bool {
        self.has(Kind::Actions)
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// What the pipeline has to compute.
    pub fn wanted(&self, has_points: bool) -> Wanted {
        let points = self.has(Kind::Points);
        Wanted {
            depth: self.has(Kind::Depth) || (points && !has_points),
            points: points && has_points,
            confidence: self.has(Kind::Confidence),
            segmentation: self.has(Kind::Segmentation),
            features: self.has(Kind::Features),
            color: self.has(Kind::Color) || points,
        }
    }

    /// Writes the messages of a frame; the bytes of all of them.
    ///
    /// # Errors
    /// Results of sizes that do not go together.
    pub fn write(
        &mut self,
        header: Header<'_>,
        outputs: &Outputs<'_>,
        (geometry, size, rays): (&ImageGeometry, Size, &Rays),
    ) -> Result<usize> {
        let [depth, color, points, confidence, segmentation, class, patches] = &mut self.written;
        let has = |kind: Kind| self.kinds.contains(&kind);
        if let Some(map) = outputs.depth.filter(|_| has(Kind::Depth)) {
            results::write_depth(depth, header, map, DepthEncoding::Meters);
        }
        if let Some(rgb) = outputs.color.filter(|_| has(Kind::Color)) {
            results::write_color(color, header, size, rgb);
        }
        let cloud = match (outputs.points, outputs.depth, outputs.color) {
            (Some(head), _, Some(rgb)) if has(Kind::Points) => {
                let rgb = geometry.sampled(size, rgb.as_chunks::<3>().0);
                results::write_head_points(points, header, head, rgb.as_flattened(), None)
            }
            (None, Some(map), Some(rgb)) if has(Kind::Points) => {
                results::write_points(points, header, rays, map, rgb)
            }
            _ => Ok(()),
        };
        cloud.map_err(|reason| anyhow!(reason))?;
        if let Some(head) = outputs.points.filter(|_| has(Kind::Confidence)) {
            results::write_confidence(confidence, header, head.confidence());
        }
        if let Some(map) = outputs.segmentation.filter(|_| has(Kind::Segmentation)) {
            results::write_segmentation(segmentation, header, map, self.classes);
        }
        if let Some(taps) = outputs.features.filter(|_| has(Kind::Features)) {
            results::write_tokens(class, header, taps, FeatureMap::class);
            results::write_tokens(patches, header, taps, FeatureMap::patches);
        }
        Ok(self.written.iter().map(|message| message.bytes().len()).sum())
    }
}
