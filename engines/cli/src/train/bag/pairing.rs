//! Which images of two topics belong together.

/// The most that the stamps of a colour image and its depth may differ: less than half of a 90 Hz camera's period.
pub const TOLERANCE_NANOS: u64 = 5_000_000;

/// An image of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// Its stamp, nanoseconds.
    pub stamp: i64,
    /// Its number among the topic's messages, from 0.
    pub number: usize,
}

/// A colour image and its depth: their numbers among the messages of their topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub image: usize,
    pub depth: usize,
}

/// Each colour image with the depth image nearest to it in time, where it is also the nearest to that one and their stamps differ by
/// [`TOLERANCE_NANOS`] at most; in the order of the colour images' stamps. Of several images with one stamp the first counts.
pub fn pairs(images: &[Taken], depths: &[Taken]) -> Vec<Pair> {
    let [images, depths] = [images, depths].map(in_order);
    let partner = |image: &Taken| {
        let depth = nearest(&depths, image.stamp)?;
        let is_mutual = nearest(&images, depth.stamp) == Some(*image);
        let is_near = image.stamp.abs_diff(depth.stamp) <= TOLERANCE_NANOS;
        (is_mutual && is_near).then_some(Pair { image: image.number, depth: depth.number })
    };
    images.iter().filter_map(partner).collect()
}

/// The least difference between stamps of both topics, nanoseconds.
pub fn least_difference(images: &[Taken], depths: &[Taken]) -> Option<u64> {
    let depths = in_order(depths);
    images.iter().filter_map(|image| Some(nearest(&depths, image.stamp)?.stamp.abs_diff(image.stamp))).min()
}

fn in_order(taken: &[Taken]) -> Vec<Taken> {
    let mut taken = taken.to_vec();
    taken.sort_unstable();
    taken.dedup_by_key(|taken| taken.stamp);
    taken
}

/// The image nearest to a stamp, of images in order; the earlier of two.
fn nearest(taken: &[Taken], stamp: i64) -> Option<Taken> {
    let after = taken.partition_point(|taken| taken.stamp < stamp);
    let before = after.checked_sub(1).and_then(|place| taken.get(place));
    let candidates = [before, taken.get(after)];
    candidates.into_iter().flatten().min_by_key(|taken| taken.stamp.abs_diff(stamp)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(milliseconds: &[i64]) -> Vec<Taken> {
        let one = |(number, ms): (usize, &i64)| Taken { stamp: 1_000_000 * ms, number };
        milliseconds.iter().enumerate().map(one).collect()
    }

    fn paired(images: &[i64], depths: &[i64]) -> Vec<(usize, usize)> {
        let pairs = pairs(&taken(images), &taken(depths));
        pairs.iter().map(|pair| (pair.image, pair.depth)).collect()
    }

    #[test]
    fn the_nearest_in_both_directions_are_pairs() {
        assert_eq!(paired(&[0, 33, 66], &[0, 33, 66]), [(0, 0), (1, 1), (2, 2)]);
        // One depth image is missing, one comes late, one early.
        assert_eq!(paired(&[0, 33, 66], &[5, 61]), [(0, 0), (2, 1)]);
        assert!(paired(&[0, 33], &[6, 27]).is_empty() && paired(&[], &[1]).is_empty());
        // Colour twice as often: each depth image teaches once.
        assert_eq!(paired(&[0, 4, 8, 12], &[1, 9]), [(0, 0), (2, 1)]);
        // Out of order, and stamps that are there twice.
        assert_eq!(paired(&[33, 0, 0, 66], &[66, 0, 33]), [(1, 1), (0, 2), (3, 0)]);
        assert_eq!(paired(&[-1, 1], &[0]), [(0, 0)]);
    }

    #[test]
    fn how_far_they_are_apart_is_known() {
        let least = |images: &[i64], depths: &[i64]| least_difference(&taken(images), &taken(depths));
        assert_eq!(least(&[0, 33], &[16, 50]), Some(16_000_000));
        assert_eq!(least(&[0], &[]), None);
    }
}
