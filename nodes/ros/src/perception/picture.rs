//! Images as the middleware hands them over.
#![allow(unsafe_code)]

use std::sync::Arc;

use perception::Stamp;
use r2r::sensor_msgs::msg::Image;
use r2r::{NativeMsg, WrappedTypesupport};

use crate::cdr::{CompressedImageView, Header, ImageMessageView, ReadError};

/// A message of `sensor_msgs/Image` in the memory of the middleware, which filled it straight from what travelled: the only copy
/// of the pixels between its history and the network's input.
pub struct NativeImage(NativeMsg<Image>);

// SAFETY: the message owns its memory, nobody else has its address, and the functions that free it (rosidl_runtime_c's) are bound to no
// thread. `new` lets no loaned one in, which would have to go back to its subscription.
unsafe impl Send for NativeImage {}

impl NativeImage {
    /// The message; one that the middleware only lends (none does so far: images have no fixed size) is copied and given back.
    pub fn new(message: NativeMsg<Image>) -> Self {
        let lent = message.is_loaned;
        Self(if lent { NativeMsg::from(&Image::from_native(&message)) } else { message })
    }

    /// Its fields.
    ///
    /// # Errors
    /// When a text is no UTF-8.
    fn view(&self) -> Result<ImageMessageView<'_>, ReadError> {
        let message = &*self.0;
        let stamp = &message.header.stamp;
        // SAFETY: pointer and size of the message's own members, which it keeps for as long as `self` lives.
        let (frame_id, encoding, data) = unsafe {
            let frame_id = &message.header.frame_id;
            let text = bytes(frame_id.data.cast(), frame_id.size);
            let encoding = bytes(message.encoding.data.cast(), message.encoding.size);
            (text, encoding, bytes(message.data.data, message.data.size))
        };
        let text = |field, text| std::str::from_utf8(text).map_err(|_| ReadError::Text { field });
        Ok(ImageMessageView {
            header: Header {
                stamp: Stamp { sec: stamp.sec, nanosec: stamp.nanosec },
                frame_id: text("header.frame_id", frame_id)?,
            },
            height: message.height,
            width: message.width,
            encoding: text("encoding", encoding)?,
            is_bigendian: message.is_bigendian != 0,
            step: message.step,
            data,
        })
    }
}

/// The bytes of a sequence or text of rosidl's.
///
/// # Safety
/// `data` is null or has `size` initialised bytes that live and do not change as long as the result.
unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    // SAFETY: as above.
    if data.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } }
}

/// What came on an image topic.
pub enum Content {
    /// `sensor_msgs/Image`.
    Raw(NativeImage),
    /// `sensor_msgs/CompressedImage`, serialised.
    Compressed(Vec<u8>),
}

/// What a [`Picture`] holds.
pub enum Message<'a> {
    Raw(ImageMessageView<'a>),
    Compressed(CompressedImageView<'a>),
}

impl Content {
    fn read(&self) -> Result<Message<'_>, ReadError> {
        match self {
            Self::Raw(image) => image.view().map(Message::Raw),
            Self::Compressed(bytes) => CompressedImageView::read(bytes).map(Message::Compressed),
        }
    }
}

/// An image as it came; stamp and frame are read, the rest is where it is used.
pub struct Picture {
    content: Content,
    stamp: Stamp,
    frame_id: Arc<str>,
}

impl Picture {
    /// A picture of this message; `last` is the frame of the one before, which most have too.
    ///
    /// # Errors
    /// When the message cannot be read.
    pub fn new(content: Content, last: &mut Arc<str>) -> Result<Self, ReadError> {
        let header = match content.read()? {
            Message::Raw(image) => image.header,
            Message::Compressed(image) => image.header,
        };
        if **last != *header.frame_id {
            *last = header.frame_id.into();
        }
        let stamp = header.stamp;
        Ok(Self { content, stamp, frame_id: last.clone() })
    }

    /// When it was taken.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Stamp and frame.
    pub fn header(&self) -> Header<'_> {
        Header { stamp: self.stamp, frame_id: &self.frame_id }
    }

    /// All of it.
    ///
    /// # Errors
    /// None: it was read before.
    pub fn message(&self) -> Result<Message<'_>, ReadError> {
        self.content.read()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use r2r::builtin_interfaces::msg::Time;
    use r2r::std_msgs::msg;

    use super::*;

    fn message() -> Image {
        let header = msg::Header { stamp: Time { sec: -1, nanosec: 5 }, frame_id: "camera".into() };
        let (height, width, step, data) = (2, 3, 9, (0..18).collect());
        Image { header, height, width, encoding: "rgb8".into(), is_bigendian: 1, step, data }
    }

    #[test]
    fn every_field_is_read_where_it_lies() {
        let native = NativeImage::new(NativeMsg::from(&message()));
        let picture = Picture::new(Content::Raw(native), &mut "".into()).unwrap();
        let stamp = Stamp { sec: -1, nanosec: 5 };
        assert_eq!(picture.header(), Header { stamp, frame_id: "camera" });
        let expected = ImageMessageView {
            header: picture.header(),
            height: 2,
            width: 3,
            encoding: "rgb8",
            is_bigendian: true,
            step: 9,
            data: &(0..18).collect::<Vec<u8>>(),
        };
        let Message::Raw(view) = picture.message().unwrap() else { panic!("it is raw") };
        assert_eq!(view, expected);
        // It is read and freed on another thread than it came on.
        std::thread::spawn(move || assert!(picture.message().is_ok())).join().unwrap();
    }

    /// The middleware allocates the message; to read it allocates no more than the name of a new frame.
    #[test]
    fn reading_the_same_frame_again_allocates_nothing() {
        let mut last: Arc<str> = "".into();
        let mut counted = [0; 3];
        for allocated in &mut counted {
            let native = NativeImage::new(NativeMsg::from(&message()));
            let read = || {
                let picture = Picture::new(Content::Raw(native), &mut last).unwrap();
                assert!(picture.message().is_ok());
            };
            *allocated = allocation_counter::measure(read).count_total;
        }
        assert!(counted[0] > 0, "the counter does not count");
        assert_eq!(counted[1..], [0; 2]);
    }

    #[test]
    fn a_lent_message_is_copied_and_given_back_at_once() {
        let returned = Arc::new(AtomicBool::new(false));
        let mut own = NativeMsg::<Image>::from(&message());
        let pointer = own.msg;
        own.release();
        let seen = returned.clone();
        let give_back = move |message| {
            Image::destroy_msg(message);
            seen.store(true, Ordering::Relaxed);
        };
        let native = NativeImage::new(NativeMsg::from_loaned(pointer, Box::new(give_back)));
        assert!(returned.load(Ordering::Relaxed), "it is still lent");
        let view = native.view().unwrap();
        assert_eq!((view.encoding, view.data, view.header.frame_id), ("rgb8", &message().data[..], "camera"));
    }

    #[test]
    fn an_empty_message_has_no_pixels_and_bad_text_is_told() {
        let native = NativeImage::new(NativeMsg::new());
        let view = native.view().unwrap();
        assert_eq!((view.encoding, view.data, view.header.frame_id), ("", &[][..], ""));
        let wrong = NativeMsg::<Image>::from(&message());
        // SAFETY: the text has four bytes. Their type is signed or not by the processor.
        unsafe { *wrong.encoding.data.cast::<u8>() = 0xff };
        let refused = NativeImage::new(wrong).view().unwrap_err();
        assert_eq!(refused, ReadError::Text { field: "encoding" });
    }
}
