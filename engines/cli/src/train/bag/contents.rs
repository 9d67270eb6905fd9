//! What a bag holds: which topics are colour images, depth and cameras, and when each image was taken.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use calibration::CameraInfo;
use perception::Encoding;
use recording::Topic;
use recording::bag::BagReader;
use recording::cdr::{Schema, Value};
use wire::{CompressedImageView, ImageMessageView};

use super::pairing::Taken;
use super::{camera, depth};
use crate::progress;

/// The types of message that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Image,
    CompressedImage,
    CameraInfo,
    Other,
}

/// What is wanted of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Colour,
    Depth,
    Camera,
}

impl Content {
    /// The option that names its topic, and what fits, for people.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Colour => ["--image", "colour images (sensor_msgs/msg/Image or CompressedImage)"],
            Self::Depth => ["--depth", "depth images (sensor_msgs/msg/Image of 32FC1 or 16UC1)"],
            Self::Camera => ["--info", "cameras (sensor_msgs/msg/CameraInfo)"],
        }
    }
}

/// A topic, all of whose messages were looked at.
#[derive(Debug)]
pub struct Track {
    /// Its name.
    pub name: String,
    /// What its messages are.
    pub kind: Kind,
    /// Frame of the first message.
    pub frame: String,
    /// Its images; of depth images those that know some depth.
    pub taken: Vec<Taken>,
    /// Its depth images in which every pixel is unknown.
    pub blank: usize,
    /// What all its messages say of the camera.
    pub camera: Option<CameraInfo>,
    type_name: String,
    schema: Option<Schema>,
    content: Option<Content>,
    /// Encoding or format of the first image.
    form: String,
    messages: usize,
    /// What is wrong with the first message that is not as it should be.
    fault: Option<String>,
}

impl Track {
    fn new(topic: &Topic) -> Self {
        let kind = match topic.type_name.as_str() {
            "sensor_msgs/msg/Image" => Kind::Image,
            "sensor_msgs/msg/CompressedImage" => Kind::CompressedImage,
            "sensor_msgs/msg/CameraInfo" => Kind::CameraInfo,
            _ => Kind::Other,
        };
        let text = topic.definition.text.as_str();
        let is_read = kind == Kind::CameraInfo && !text.is_empty();
        let schema = is_read.then(|| Schema::parse(&topic.type_name, text).ok()).flatten();
        Self {
            name: topic.name.clone(),
            kind,
            frame: String::new(),
            taken: Vec::new(),
            blank: 0,
            camera: None,
            type_name: topic.type_name.clone(),
            schema,
            content: None,
            form: String::new(),
            messages: 0,
            fault: None,
        }
    }

    /// Looks at the next message. What is wrong with one is told when its topic is chosen: others may be as they like.
    fn add(&mut self, data: &[u8]) {
        let number = self.messages;
        self.messages += 1;
        if self.fault.is_some() {
            return;
        }
        let looked = match self.kind {
            Kind::Image => self.add_image(data, number),
            Kind::CompressedImage => self.add_compressed(data, number),
            Kind::CameraInfo => self.add_camera(data),
            Kind::Other => Ok(()),
        };
        self.fault = looked.err().map(|error| format!("message {number}: {error:#}"));
    }

    fn add_image(&mut self, data: &[u8], number: usize) -> Result<()> {
        let image = ImageMessageView::read(data)?;
        if number == 0 {
            (self.form, self.frame) = (image.encoding.to_owned(), image.header.frame_id.to_owned());
            let is_colour = image.encoding.parse::<Encoding>().is_ok();
            self.content = match depth::ENCODINGS.contains(&image.encoding) {
                true => Some(Content::Depth),
                false => is_colour.then_some(Content::Colour),
            };
        }
        if self.content == Some(Content::Depth) {
            let (_, map) = depth::millimeters(&image)?;
            if map.iter().all(|mm| *mm == 0) {
                self.blank += 1;
                return Ok(());
            }
        }
        self.taken.push(Taken { stamp: image.header.stamp.nanoseconds(), number });
        Ok(())
    }

    fn add_compressed(&mut self, data: &[u8], number: usize) -> Result<()> {
        let image = CompressedImageView::read(data)?;
        if number == 0 {
            (self.form, self.frame) = (image.format.to_owned(), image.header.frame_id.to_owned());
            let of_depth = depth::ENCODINGS.iter().any(|encoding| image.format.starts_with(*encoding));
            let is_depth = of_depth || image.format.contains("compressedDepth");
            self.content = (!is_depth).then_some(Content::Colour);
        }
        self.taken.push(Taken { stamp: image.header.stamp.nanoseconds(), number });
        Ok(())
    }

    fn add_camera(&mut self, data: &[u8]) -> Result<()> {
        self.content = Some(Content::Camera);
        let schema = self.schema.as_ref();
        let schema =
            schema.context("expected the definition of its type, the bag has none that can be read")?;
        let (frame, info) = {
            let message = schema.decode(data)?;
            let frame = message.get("header").and_then(|header| header.get("frame_id"));
            (frame.and_then(Value::text).unwrap_or_default().to_owned(), camera::info(&message)?)
        };
        if let Some(first) = &self.camera {
            ensure!(
                *first == info,
                "expected the camera of the messages before it, got another: record each by itself"
            );
            return Ok(());
        }
        (self.frame, self.camera) = (frame, Some(info));
        Ok(())
    }

    /// Name, type and what its images are.
    fn words(&self) -> String {
        let kind = if self.type_name.is_empty() { "no type" } else { self.type_name.as_str() };
        match (&self.fault, self.messages, self.form.as_str()) {
            (Some(fault), _, _) => format!("{} ({kind}, {fault})", self.name),
            (None, 0, _) => format!("{} ({kind}, no message)", self.name),
            (None, _, "") => format!("{} ({kind})", self.name),
            (None, _, form) => format!("{} ({kind}, {form})", self.name),
        }
    }
}

/// A bag that was looked through once.
#[derive(Debug)]
pub struct Bag {
    reader: BagReader,
    /// Its topics.
    pub tracks: Vec<Track>,
}

impl Bag {
    /// Looks through a bag.
    ///
    /// # Errors
    /// When it is no bag of ROS 2, damaged, or cut off.
    pub fn open(path: &Path) -> Result<Self> {
        let reader = BagReader::open(path)?;
        let mut tracks: Vec<Track> = reader.topics().iter().map(Track::new).collect();
        let bar = progress::items(reader.message_count().unwrap_or(0), "looking through the bag");
        for message in reader.messages()? {
            let message = message?;
            tracks[message.topic].add(&message.data);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Self { reader, tracks })
    }

    /// A topic, for messages to people.
    pub fn place(&self, topic: usize) -> String {
        format!("{}: {}", self.reader.path().display(), self.tracks[topic].name)
    }

    /// The topic that holds this, all of whose messages are sound: the one named, or the only one.
    ///
    /// # Errors
    /// When there is no such topic or a choice of several, with a list of all, or a message is not sound.
    pub fn choose(&self, content: Content, named: Option<&str>) -> Result<usize> {
        let found = match named {
            Some(name) => self.named(content, name)?,
            None => self.only(content)?,
        };
        let track = &self.tracks[found];
        if let Some(fault) = &track.fault {
            bail!("{}: {fault}", self.place(found));
        }
        ensure!(
            content != Content::Depth || !track.taken.is_empty(),
            "{}: expected known depth, every pixel of its {} images is unknown",
            self.place(found),
            track.blank
        );
        Ok(found)
    }

    fn named(&self, content: Content, name: &str) -> Result<usize> {
        let [option, what] = content.words();
        let bag = self.reader.path().display();
        let found = self.tracks.iter().position(|track| track.name == name);
        let found = found.with_context(|| {
            format!("{bag}: {option} {name}: expected a topic of the bag; it has {}", self.listed())
        })?;
        let track = &self.tracks[found];
        let fits = track.content == Some(content) || track.fault.is_some();
        ensure!(fits, "{bag}: {option}: expected {what}, got {}", track.words());
        Ok(found)
    }

    fn only(&self, content: Content) -> Result<usize> {
        let [option, what] = content.words();
        let bag = self.reader.path().display();
        let fits = |topic: &usize| self.tracks[*topic].content == Some(content);
        let fitting: Vec<usize> = (0..self.tracks.len()).filter(fits).collect();
        match fitting.as_slice() {
            [only] => Ok(*only),
            [] => bail!("{bag}: expected a topic of {what}, there is none; the bag has {}", self.listed()),
            several => bail!(
                "{bag}: expected one topic of {what}, there are {}: choose with {option}; the bag has {}",
                several.len(),
                self.listed()
            ),
        }
    }

    fn listed(&self) -> String {
        if self.tracks.is_empty() {
            return "no topic".to_owned();
        }
        self.tracks.iter().map(Track::words).collect::<Vec<_>>().join(", ")
    }

    /// Reads the bag again: `take` gets each message of some topics, with its topic's place among them, its number on that topic, and its
    /// bytes.
    ///
    /// # Errors
    /// What `take` says, with topic and number; or a damaged bag.
    pub fn read(
        &self,
        topics: &[usize],
        mut take: impl FnMut(usize, usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut numbers = vec![0; topics.len()];
        for message in self.reader.messages()? {
            let message = message?;
            let Some(role) = topics.iter().position(|topic| *topic == message.topic) else { continue };
            let number = numbers[role];
            numbers[role] += 1;
            take(role, number, &message.data)
                .with_context(|| format!("{}: message {number}", self.place(message.topic)))?;
        }
        Ok(())
    }
}
