//! One picture after another through a pipeline.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use calibration::Size;
use image::RgbImage;
use perception::parity::Photograph;
use perception::points::Rays;
use perception::{
    CameraView, Encoding, ImageGeometry, ImageView, Outputs, Pipeline, PipelineError, ViewOptions, Wanted,
    picture,
};

use super::camera::Camera;
use super::files::Files;
use super::sheet::beside;
use super::{Arguments, Failure, Kind};
use crate::engine::tell_notices;

/// Share of a frame in the range of distances that a video's colours show: the colours follow the scene, and do not flicker.
const FOLLOW: f32 = 0.1;

/// A pipeline, and what it knows of pictures of the size that came last.
pub struct Session<'a, E: perception::Engine> {
    arguments: &'a Arguments,
    camera: Camera,
    pipeline: Pipeline<E>,
    prepared: Option<Prepared>,
    /// Nearest and farthest distance that the last frame's colours showed, metres.
    shown: Option<[f32; 2]>,
}

struct Prepared {
    frame: Size,
    view: CameraView,
    rays: Option<Rays>,
}

impl<'a, E: perception::Engine> Session<'a, E> {
    pub fn new(arguments: &'a Arguments, camera: Camera, pipeline: Pipeline<E>) -> Self {
        Self { arguments, camera, pipeline, prepared: None, shown: None }
    }

    pub fn arguments(&self) -> &'a Arguments {
        self.arguments
    }

    /// Forgets what the last video's colours showed.
    pub fn begin_video(&mut self) {
        self.shown = None;
    }

    /// Prepares for pictures of a size, unless those before had it.
    ///
    /// # Errors
    /// A size that the camera or the network does not take, which is the file's own fault, or whatever keeps a network from
    /// being loaded.
    pub fn prepare(&mut self, frame: Size) -> Result<(), Failure> {
        if self.prepared.as_ref().is_some_and(|prepared| prepared.frame == frame) {
            return Ok(());
        }
        let (model, map) = self.camera.rectification(frame).map_err(Failure::File)?.unzip();
        let rectify = map.flatten().map(Arc::new);
        let (network, output) = (self.arguments.size, self.arguments.output_size);
        let options = ViewOptions { network, output, rectify, ..ViewOptions::default() };
        let mut view = self.pipeline.view_as(frame, options).map_err(|error| match error {
            PipelineError::Geometry(_) => Failure::File(error.into()),
            other => Failure::Run(other.into()),
        })?;
        let of = |error: PipelineError| Failure::Run(error.into());
        view.set_scaling(self.pipeline.scaling(&view, model.as_ref(), None).map_err(of)?);
        let rays = model.map(|model| view.output_camera(&model)).transpose().map_err(of)?;
        self.prepared = Some(Prepared { frame, view, rays: rays.map(|(_, rays)| rays) });
        Ok(())
    }

    /// Writes the files of a photograph of the size prepared for; gives it beside its depth in colour, if the bundle has depth.
    ///
    /// # Errors
    /// When it is refused or a file cannot be written.
    pub fn picture(&mut self, photograph: &Photograph, stem: &str) -> Result<Option<RgbImage>> {
        self.shown = None;
        let pair = self.infer(photograph.size, &photograph.rgb, stem, true)?;
        tell_notices(self.pipeline.engine());
        let image =
            |(rgb, size): (Vec<u8>, Size)| RgbImage::from_raw(size.width as u32, size.height as u32, rgb);
        pair.map(|pair| image(pair).context("picture of another size")).transpose()
    }

    /// Writes the files of a video's frame of the size prepared for; gives RGB pixels and size of it beside its depth in colour.
    ///
    /// # Errors
    /// As [`Session::picture`].
    pub fn frame(&mut self, size: Size, rgb: &[u8], stem: &str) -> Result<Option<(Vec<u8>, Size)>> {
        let pair = self.infer(size, rgb, stem, false)?;
        tell_notices(self.pipeline.engine());
        Ok(pair)
    }

    fn infer(
        &mut self,
        size: Size,
        rgb: &[u8],
        stem: &str,
        everything: bool,
    ) -> Result<Option<(Vec<u8>, Size)>> {
        let image = ImageView::new(rgb, size, 3 * size.width, Encoding::Rgb8)?;
        let arguments = self.arguments;
        let prepared = self.prepared.as_mut().filter(|prepared| prepared.frame == size);
        let prepared = prepared.with_context(|| format!("nothing is prepared for {size}"))?;
        let features = arguments.writes(Kind::Features, everything);
        let wanted = Wanted {
            depth: self.pipeline.depth_range().is_some(),
            points: self.pipeline.has_points(),
            confidence: self.pipeline.has_points(),
            segmentation: self.pipeline.labels().is_some(),
            features,
            color: true,
        };
        let (output, geometry) = (prepared.view.output_size(), *prepared.view.geometry());
        let outputs = self.pipeline.run(&mut prepared.view, &image, wanted)?;
        if outputs.relative.is_some() {
            bail!(
                "the depth head's numbers are no metres by themselves: expected a metric head, or --camera for one that is \
                 normalised by focal length"
            );
        }
        let files = Files { folder: &arguments.out, stem };
        write(arguments, &files, &outputs, prepared.rays.as_ref(), everything)?;
        write_heads(arguments, &files, &outputs, (&geometry, output), everything)?;
        let Some((depth, color)) = outputs.depth.zip(outputs.color) else { return Ok(None) };
        let range = follow(self.shown, picture::shown_range(depth));
        self.shown = Some(range);
        let coloured = picture::depth_in_colour_between(depth, range);
        if arguments.writes(Kind::Colour, everything) {
            files.picture("_depth_colour.png", output, &coloured)?;
        }
        let size = Size { width: 2 * output.width, height: output.height };
        Ok(Some((beside(color, &coloured, output.width), size)))
    }
}

fn write(
    arguments: &Arguments,
    files: &Files<'_>,
    outputs: &Outputs<'_>,
    rays: Option<&Rays>,
    everything: bool,
) -> Result<()> {
    if let Some(features) = outputs.features {
        files.features(features)?;
    }
    let Some((depth, color)) = outputs.depth.zip(outputs.color) else { return Ok(()) };
    if arguments.writes(Kind::Depth, true) {
        files.depth(depth)?;
    }
    if arguments.writes(Kind::Input, everything) {
        files.picture("_input.png", depth.size(), color)?;
    }
    // A point map head needs no calibration, and its points are better than those of an assumed one.
    let of_depth = outputs.points.is_none() && arguments.writes(Kind::Points, everything);
    if let Some(rays) = rays.filter(|_| of_depth) {
        files.points(rays, depth, color)?;
    }
    Ok(())
}

/// The files of heads for point maps and segments; `color` is of the size beside the geometry.
fn write_heads(
    arguments: &Arguments,
    files: &Files<'_>,
    outputs: &Outputs<'_>,
    (geometry, size): (&ImageGeometry, Size),
    everything: bool,
) -> Result<()> {
    let rgb = outputs.color.map(|rgb| geometry.sampled(size, rgb.as_chunks::<3>().0)).unwrap_or_default();
    if let Some(head) = outputs.points.filter(|_| arguments.writes(Kind::Points, everything)) {
        files.head_points(head, &rgb)?;
        files.picture(
            "_confidence.png",
            geometry.network(),
            &picture::confidence_in_colour(head.confidence()),
        )?;
        files.intrinsics(head, geometry.network())?;
    }
    if let Some(map) = outputs.segmentation.filter(|_| arguments.writes(Kind::Segmentation, everything)) {
        files.labels(map)?;
        let coloured = picture::labels_in_colour(map, rgb.as_flattened());
        files.picture("_segmentation_colour.png", map.size(), &coloured)?;
    }
    Ok(())
}

/// The range to show: a share of this frame's, the rest what was shown before.
fn follow(before: Option<[f32; 2]>, now: [f32; 2]) -> [f32; 2] {
    let Some(before) = before else { return now };
    std::array::from_fn(|end| before[end] + (now[end] - before[end]) * FOLLOW)
}
