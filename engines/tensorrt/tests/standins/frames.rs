//! What becomes of frames, on whatever driver: pixels against the CPU's, and networks that copy what they read, so that the host knows
//! every number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calibration::{CameraModel, Distortion, Intrinsics, RectifyMap, Size};
use network::bundle::random_model;
use network::manifest::PreprocessingSpec;
use network::{Architecture, Bundle, HeadKind, Network};
use perception::{Encoding, Engine, ImageGeometry, ImageView, Preprocessing};
use tensorrt::{TensorRt, TensorRtNetwork, TensorRtTensor};

pub const NETWORK: Size = Size { width: 64, height: 48 };

pub fn bundle(folder: &std::path::Path, size: Size) -> Bundle {
    let heads = [("depth".to_owned(), HeadKind::LinearDepth {})];
    let architecture = Architecture::named("pixio-tiny16").expect("tiny");
    let model = random_model(architecture, &heads, &[size], 1).expect("model");
    model.write(&folder.join("bundle"), false, |_| ()).expect("bundle")
}

pub fn download(engine: &mut TensorRt, tensor: &TensorRtTensor) -> Vec<f32> {
    let mut values = vec![f32::NAN; engine.shape(tensor).iter().product()];
    engine.download(tensor, &mut values).expect("download");
    values
}

/// Bytes that look random, other ones for every seed.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32 ^ seed.wrapping_mul(0x9e37_79b9);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// The engine's own preprocessing against the CPU's: equal, bit for bit, for every encoding.
pub fn pixels_equal_the_cpus(engine: &mut TensorRt) {
    for (name, encoding) in Encoding::ALL {
        for (camera, network, padding) in cases() {
            for rectified in [false, true] {
                let compared = compare(engine, encoding, [camera, network], padding, rectified);
                let case = format!(
                    "{name} {camera} -> {network}, {padding} bytes of padding, rectified: {rectified}"
                );
                assert_eq!(compared, Ok(()), "{case}");
            }
        }
    }
}

/// Of a lens that leaves some of the rectified image unseen.
fn rectify_map(raw: Size) -> Arc<RectifyMap> {
    let f = 0.9 * raw.width as f64;
    let intrinsics = Intrinsics { fx: f, fy: f, cx: 0.5 * raw.width as f64, cy: 0.47 * raw.height as f64 };
    let pincushion = Distortion::PlumbBob([0.2, 0.1, 2e-3, -1e-3, 0.0]);
    let camera = CameraModel::new(raw, intrinsics, pincushion).expect("camera");
    let wider =
        CameraModel::new(raw, Intrinsics { fx: 0.8 * f, fy: 0.8 * f, ..intrinsics }, Distortion::None);
    let turn = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let map = RectifyMap::new(&camera, turn, &wider.expect("rectified camera")).expect("map");
    assert!(map.valid().any(|valid| valid) && map.valid().any(|valid| !valid));
    Arc::new(map)
}

fn cases() -> Vec<(Size, Size, usize)> {
    let size = |width, height| Size { width, height };
    vec![
        (size(64, 48), size(64, 48), 0),
        (size(81, 61), size(64, 48), 5),
        (size(320, 180), size(64, 48), 64),
        (size(30, 22), size(64, 48), 2),
        (size(99, 201), size(48, 32), 1),
    ]
}

/// Random bytes as an image of an encoding, on both.
fn compare(
    engine: &mut TensorRt,
    encoding: Encoding,
    [camera, network]: [Size; 2],
    padding: usize,
    rectified: bool,
) -> Result<(), String> {
    let step = 4 * camera.width + padding;
    let data = noise(0, 4 * step * camera.height);
    // Some encodings have no odd sides.
    let Ok(image) = ImageView::new(&data, camera, step, encoding) else { return Ok(()) };
    let geometry = ImageGeometry::new(camera, network).map_err(|error| error.to_string())?;
    let spec = PreprocessingSpec::default();
    let mut preprocessing = match rectified {
        false => Preprocessing::new(geometry, &spec),
        true => Preprocessing::rectifying(geometry, &spec, rectify_map(camera))
            .map_err(|error| error.to_string())?,
    };
    same_as_cpu(engine, &mut preprocessing, &image)
}

fn same_as_cpu(
    engine: &mut TensorRt,
    preprocessing: &mut Preprocessing,
    image: &ImageView<'_>,
) -> Result<(), String> {
    let network = preprocessing.geometry().network();
    let mut expected = vec![0.0; 3 * network.area()];
    preprocessing.run(image, &mut expected).map_err(|error| error.to_string())?;
    let tensor =
        engine.allocate(&[1, 3, network.height, network.width]).map_err(|error| error.to_string())?;
    engine.preprocess(image, preprocessing, &tensor).map_err(|error| error.to_string())?;
    let actual = download(engine, &tensor);
    match expected.iter().zip(&actual).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None => Ok(()),
        Some(at) => Err(format!("value {at}: expected {}, got {}", expected[at], actual[at])),
    }
}

/// A backbone and a head of networks that copy their inputs, bound to each other, and two cameras.
pub struct Copying {
    backbone: Network,
    head: Network,
    input: TensorRtTensor,
    loaded: [TensorRtNetwork; 2],
    cameras: [(Size, Encoding, Preprocessing); 2],
}

impl Copying {
    pub fn new(engine: &mut TensorRt, cameras: [Size; 2], network: Size) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let bundle = bundle(folder.path(), network);
        let backbone = bundle.backbone(network).expect("backbone");
        let head = bundle.head("depth", network).expect("head");
        let input = engine.allocate(&backbone.inputs()[0].shape).expect("input");
        let first = engine.load(&backbone, std::slice::from_ref(&input)).expect("backbone");
        let tokens = engine.outputs(&first).to_vec();
        let read: Vec<_> = read_by(&head, &backbone).map(|index| tokens[index].clone()).collect();
        let second = engine.load(&head, &read).expect("head");
        let preprocessing = |camera| {
            let geometry = ImageGeometry::new(camera, network).expect("geometry");
            Preprocessing::new(geometry, &PreprocessingSpec::default())
        };
        let [left, right] = cameras;
        let cameras =
            [(left, Encoding::Rgb8, preprocessing(left)), (right, Encoding::Bgra8, preprocessing(right))];
        Self { backbone, head, input, loaded: [first, second], cameras }
    }

    /// A frame of a camera through backbone and, if wanted, head, against what the host makes of its pixels.
    pub fn frame(&mut self, engine: &mut TensorRt, seed: u32, camera: usize, wants_depth: bool) -> Duration {
        let (size, encoding, preprocessing) = &mut self.cameras[camera];
        let step = encoding.row_bytes(size.width);
        let pixels = noise(seed, step * size.height);
        let image = ImageView::new(&pixels, *size, step, *encoding).expect("image");
        let mut expected = vec![0.0; self.backbone.inputs()[0].shape.iter().product()];
        preprocessing.run(&image, &mut expected).expect("preprocessing");
        let start = Instant::now();
        engine.preprocess(&image, preprocessing, &self.input).expect("preprocess");
        let [backbone, head] = &mut self.loaded;
        engine.run(backbone).expect("backbone");
        if wants_depth {
            engine.run(head).expect("head");
        }
        let outputs = engine.outputs(if wants_depth { head } else { backbone }).to_vec();
        let last = outputs.last().expect("an output");
        let mut values = vec![f32::NAN; engine.shape(last).iter().product()];
        engine.download(last, &mut values).expect("download");
        let took = start.elapsed();
        assert!(same_bits(&values, &self.expected(expected, wants_depth)), "frame {seed}, camera {camera}");
        took
    }

    fn expected(&self, image: Vec<f32>, wants_depth: bool) -> Vec<f32> {
        let copies = |network: &Network, inputs: &[&Vec<f32>]| -> Vec<Vec<f32>> {
            network.outputs().iter().map(|port| copied(inputs, port.shape.iter().product())).collect()
        };
        let tokens = copies(&self.backbone, &[&image]);
        if !wants_depth {
            return tokens.last().expect("tokens").clone();
        }
        let read: Vec<_> = read_by(&self.head, &self.backbone).map(|index| &tokens[index]).collect();
        copies(&self.head, &read).pop().expect("depth")
    }
}

/// Which outputs of the backbone a head reads, in the order of its inputs.
fn read_by(head: &Network, backbone: &Network) -> impl Iterator<Item = usize> {
    let place = move |name: &str| backbone.outputs().iter().position(|output| output.name == name);
    head.inputs().iter().map(move |port| place(&port.name).expect("an output of the backbone"))
}

/// What a network that copies writes: its inputs one after the other, again and again.
fn copied(inputs: &[&Vec<f32>], count: usize) -> Vec<f32> {
    inputs.iter().cycle().flat_map(|input| input.iter().copied()).take(count).collect()
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Two cameras take turns, with and without the head: step by step, captured, launched, always from this frame's pixels. One graph
/// for each camera and set of heads.
pub fn frames_go_through_graphs(engine: &mut TensorRt) {
    let cameras = [Size { width: 81, height: 60 }, Size { width: 96, height: 70 }];
    let mut copying = Copying::new(engine, cameras, NETWORK);
    engine.take_notices();
    for seed in 0..20 {
        copying.frame(engine, seed, seed as usize % 2, seed / 2 % 2 == 0);
    }
    assert_eq!(captured(engine), [true; 4]);
    assert_eq!(engine.take_notices(), [""; 0]);
}

/// A network that waits for the stream cannot be captured; that is told, and its frames are right all the same.
pub fn a_wait_breaks_the_capture_alone(engine: &mut TensorRt, set: impl Fn(&str, i32)) {
    let cameras = [Size { width: 81, height: 60 }, Size { width: 96, height: 70 }];
    let mut copying = Copying::new(engine, cameras, NETWORK);
    engine.take_notices();
    set("waits", 1);
    for seed in 0..4 {
        copying.frame(engine, seed, 0, true);
    }
    set("waits", 0);
    let notices = engine.take_notices();
    assert!(
        notices.len() == 1 && notices[0].starts_with("no CUDA graph of preprocess + backbone + depth"),
        "{notices:?}"
    );
    for seed in 4..8 {
        copying.frame(engine, seed, 0, true);
        copying.frame(engine, seed, 1, false);
    }
    assert_eq!(captured(engine), [false, true]);
}

/// Whether each sequence with a backbone is one graph.
fn captured(engine: &TensorRt) -> Vec<bool> {
    let graphs = engine.graphs().into_iter().filter(|(name, _)| name.contains("backbone"));
    graphs.map(|(_, is_graph)| is_graph).collect()
}
