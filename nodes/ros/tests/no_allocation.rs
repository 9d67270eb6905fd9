//! From the bytes that came to pixels, and from depth to the bytes that go: nothing is allocated for a frame like the one before. (Raw images
//! come as the middleware's messages; `perception/picture.rs` counts what it takes to read those.)
//! The resizing between is not in it: `fast_image_resize` makes its tables of coefficients anew for every strip of rows.

#![allow(clippy::unwrap_used)]

use calibration::{CameraModel, Distortion, Intrinsics, Size};
use network::manifest::{ColourOrder, PreprocessingSpec, Resample};
use perception::depth::DepthRange;
use perception::points::Rays;
use perception::{DepthMap, FarPolicy, ImageGeometry, Preprocessing, Stamp};
use pixio_ros::cdr::{Header, ImageMessageView, Written};
use pixio_ros::convert::{self, DepthEncoding};

const FRAME: Size = Size { width: 640, height: 480 };
const NETWORK: Size = Size { width: 256, height: 192 };

/// What a camera's frames need, made once.
struct Stages {
    preprocessing: Preprocessing,
    input: Vec<f32>,
    depth: DepthMap,
    rays: Rays,
    rgb: Vec<u8>,
    messages: [Written; 3],
}

impl Stages {
    fn new() -> Self {
        let spec = PreprocessingSpec {
            colour_order: ColourOrder::Rgb,
            resample: Resample::BicubicAntialiased,
            mean: [0.5; 3],
            std: [0.25; 3],
        };
        let intrinsics = Intrinsics { fx: 200.0, fy: 200.0, cx: 127.5, cy: 95.5 };
        Self {
            preprocessing: Preprocessing::new(ImageGeometry::new(FRAME, NETWORK).unwrap(), &spec),
            input: vec![0.0; 3 * NETWORK.area()],
            depth: DepthMap::unknown(NETWORK),
            rays: Rays::new(&CameraModel::new(NETWORK, intrinsics, Distortion::None).unwrap()),
            rgb: vec![0; 3 * NETWORK.area()],
            messages: Default::default(),
        }
    }

    fn preprocess(&mut self, bytes: &[u8]) {
        let message = ImageMessageView::read(bytes).unwrap();
        let image = convert::image(&message).unwrap();
        self.preprocessing.run(&image, &mut self.input).unwrap();
        self.preprocessing.picture(&image, &mut self.rgb).unwrap();
    }

    fn write(&mut self, bytes: &[u8]) {
        let message = ImageMessageView::read(bytes).unwrap();
        let image = convert::image(&message).unwrap();
        assert_eq!(image.size(), FRAME);
        let range = DepthRange { min_meters: 0.1, max_meters: 10.0 };
        let plane = &self.input[..NETWORK.area()];
        let fill = |meters: &mut [f32]| {
            meters.iter_mut().zip(plane).for_each(|(meters, value)| *meters = 2.0 + value);
            Ok::<(), ()>(())
        };
        self.depth.refill(range, FarPolicy::default(), fill).unwrap();
        let [depth, color, points] = &mut self.messages;
        convert::write_depth(depth, message.header, &self.depth, DepthEncoding::Meters);
        convert::write_color(color, message.header, NETWORK, &self.rgb);
        convert::write_points(points, message.header, &self.rays, &self.depth, &self.rgb).unwrap();
    }
}

#[test]
fn frames_after_the_first_allocate_nothing() {
    for (encoding, channels) in [("rgb8", 3), ("bgr8", 3), ("mono8", 1), ("bgra8", 4)] {
        let mut stages = Stages::new();
        let mut camera = Written::default();
        let (mut size, mut allocated) = (0, [0; 4]);
        for (index, allocated) in allocated.iter_mut().enumerate() {
            let stamp = Stamp { sec: index as i32, nanosec: 7 };
            let header = Header { stamp, frame_id: "camera_optical" };
            camera.image(header, FRAME, encoding, channels * FRAME.width).fill(40 * index as u8);
            stages.preprocess(camera.bytes());
            *allocated = allocation_counter::measure(|| stages.write(camera.bytes())).count_total;
            size = stages.messages.iter().map(|message| message.bytes().len()).sum::<usize>();
        }
        assert_eq!(allocated[1..], [0; 3], "{encoding}");
        assert!(allocated[0] > 0 && size > (4 + 3 + 16) * NETWORK.area(), "{encoding}: {size} bytes");
    }
}
