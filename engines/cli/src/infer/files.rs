//! The files that one photograph gives.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use calibration::{Intrinsics, Size};
use image::{ExtendedColorType, ImageBuffer, Luma, save_buffer};
use perception::points::Rays;
use perception::{DepthMap, FeatureMap, HeadPoints, LabelMap};
use safetensors::tensor::{Dtype, TensorView};

use super::ply;

/// Where the files of one photograph go.
pub struct Files<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The photograph's name without ending.
    pub stem: &'a str,
}

impl Files<'_> {
    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.stem))
    }

    /// `_depth.png`: 16 bit, millimetres, 0 where unknown or too far.
    pub fn depth(&self, depth: &DepthMap) -> Result<()> {
        let (width, height) = (depth.size().width as u32, depth.size().height as u32);
        let path = self.path("_depth.png");
        let millimeters: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_raw(width, height, depth.millimeters().collect())
                .context("depth of another size")?;
        millimeters.save(&path).with_context(|| path.display().to_string())
    }

    /// RGB pixels as a picture.
    pub fn picture(&self, ending: &str, size: Size, rgb: &[u8]) -> Result<()> {
        let path = self.path(ending);
        save_buffer(&path, rgb, size.width as u32, size.height as u32, ExtendedColorType::Rgb8)
            .with_context(|| path.display().to_string())
    }

    /// `_points.ply`: metres in the camera's optical frame, with the picture's colours.
    pub fn points(&self, rays: &Rays, depth: &DepthMap, color: &[u8]) -> Result<()> {
        let path = self.path("_points.ply");
        let points =
            rays.points(depth).map_err(anyhow::Error::msg)?.zip(color.as_chunks::<3>().0.iter().copied());
        let mut out = BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?);
        ply::write(&mut out, &points.collect::<Vec<_>>())?;
        Ok(out.flush()?)
    }

    /// `_points.ply` of a point map head, with the picture's colours.
    pub fn head_points(&self, head: &HeadPoints, rgb: &[[u8; 3]]) -> Result<()> {
        let path = self.path("_points.ply");
        let points: Vec<_> = head.points().points().iter().copied().zip(rgb.iter().copied()).collect();
        let mut out = BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?);
        ply::write(&mut out, &points)?;
        Ok(out.flush()?)
    }

    /// `_intrinsics.json`: the pinhole that a point map head's rays imply at the network's size, pixels; null for none.
    pub fn intrinsics(&self, head: &HeadPoints, size: Size) -> Result<()> {
        let implied = head.implied().map(|implied| {
            let Intrinsics { fx, fy, cx, cy } = implied.intrinsics;
            serde_json::json!({ "fx": fx, "fy": fy, "cx": cx, "cy": cy, "deviation_pixels": implied.deviation_pixels })
        });
        let text =
            serde_json::json!({ "width": size.width, "height": size.height, "implied_intrinsics": implied });
        let path = self.path("_intrinsics.json");
        std::fs::write(&path, format!("{text:#}\n")).with_context(|| path.display().to_string())
    }

    /// `_segmentation.png`: label ids, 8 bit, or 16 bit where there are more than 256 labels.
    pub fn labels(&self, map: &LabelMap) -> Result<()> {
        let (width, height) = (map.size().width as u32, map.size().height as u32);
        let path = self.path("_segmentation.png");
        let bytes: Option<Vec<u8>> = map.labels().iter().map(|label| u8::try_from(*label).ok()).collect();
        let saved = match bytes {
            Some(bytes) => save_buffer(&path, &bytes, width, height, ExtendedColorType::L8),
            None => ImageBuffer::<Luma<u16>, _>::from_raw(width, height, map.labels().to_vec())
                .context("labels of another size")?
                .save(&path),
        };
        saved.with_context(|| path.display().to_string())
    }

    /// `_features.safetensors`: per tap `cls_<block>` `[class tokens, dim]` and `patches_<block>` `[rows, columns, dim]`.
    pub fn features(&self, maps: &[FeatureMap]) -> Result<()> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let tensors: Vec<_> = maps
            .iter()
            .flat_map(|map| {
                let (class, patches) =
                    (vec![map.class_tokens, map.dim], vec![map.rows, map.columns, map.dim]);
                [
                    (format!("cls_{}", map.block), class, bytes(map.class())),
                    (format!("patches_{}", map.block), patches, bytes(map.patches())),
                ]
            })
            .collect();
        let view =
            |(name, shape, bytes)| -> Result<_> { Ok((name, TensorView::new(Dtype::F32, shape, bytes)?)) };
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| view((name.as_str(), shape.clone(), bytes.as_slice())))
            .collect::<Result<Vec<_>>>()?;
        let about = maps.first().map(|map| [("encoder_id".to_owned(), map.encoder_id.clone())].into());
        let path = self.path("_features.safetensors");
        safetensors::serialize_to_file(views, about, &path).with_context(|| path.display().to_string())
    }
}
