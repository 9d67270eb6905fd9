//! Cameras out of `sensor_msgs/CameraInfo`.

use anyhow::{Context, Result, ensure};
use calibration::{CameraInfo, CameraModel, Roi, Size};
use recording::cdr::Value;

/// What a decoded message says.
///
/// # Errors
/// The field that is missing, or of another type.
pub fn info(message: &Value<'_>) -> Result<CameraInfo> {
    let size = Size { width: whole(message, "width")? as usize, height: whole(message, "height")? as usize };
    let model = message.get("distortion_model").and_then(Value::text);
    let region = message.get("roi").with_context(|| expected("roi"))?;
    Ok(CameraInfo {
        size,
        distortion_model: model.with_context(|| expected("distortion_model"))?.to_owned(),
        d: numbers(message, "d")?,
        k: matrix(message, "k")?,
        r: matrix(message, "r")?,
        p: matrix(message, "p")?,
        binning: [whole(message, "binning_x")?, whole(message, "binning_y")?],
        roi: Roi {
            x_offset: whole(region, "x_offset")?,
            y_offset: whole(region, "y_offset")?,
            width: whole(region, "width")?,
            height: whole(region, "height")?,
            do_rectify: matches!(region.get("do_rectify"), Some(Value::Bool(true))),
        },
    })
}

/// The pinhole of a camera's pictures: K of one without distortion; P where they are known to be rectified.
///
/// # Errors
/// When the camera is not calibrated, makes no sense, or bends what should be straight.
pub fn pinhole(info: &CameraInfo, is_rectified: bool) -> Result<CameraModel> {
    if is_rectified {
        return Ok(info.rectified()?);
    }
    let camera = info.raw()?;
    ensure!(
        camera.distortion().is_none(),
        "expected a camera without distortion, got {} of {:?}: where the images are rectified (image_proc's rectify node, with depth \
         registered to them) give --rectified, which takes P; others must be rectified first",
        info.distortion_model,
        info.d
    );
    Ok(camera.without_distortion())
}

fn expected(field: &str) -> String {
    format!("{field}: expected the field of a sensor_msgs/CameraInfo, it is missing or of another type")
}

fn whole(message: &Value<'_>, name: &str) -> Result<u32> {
    let number = message.get(name).and_then(Value::uint);
    number.and_then(|number| u32::try_from(number).ok()).with_context(|| expected(name))
}

fn numbers(message: &Value<'_>, name: &str) -> Result<Vec<f64>> {
    let numbers = message.get(name).and_then(Value::numbers).with_context(|| expected(name))?;
    Ok(numbers.iter().collect())
}

fn matrix<const N: usize>(message: &Value<'_>, name: &str) -> Result<[f64; N]> {
    <[f64; N]>::try_from(numbers(message, name)?).ok().with_context(|| expected(name))
}
