//! Which images are seen: every image once an epoch, unless soft self-curation skips it.

use std::collections::BTreeMap;

use crate::Numbers;

/// Streams of random numbers.
const ORDER: u64 = 1;
const KEEP: u64 = 2;

/// Least probability of being seen, so that an image whose loss was once low is looked at again.
const FLOOR: f32 = 0.02;

/// Draws images. With curation an image is kept with a probability equal to its reconstruction loss when it was last seen (at
/// most 1), as Pixio's soft sampling does with the losses of an earlier model: black, flat and often repeated images, which are
/// painted well, are seen less. An image never seen is always kept.
#[derive(Clone, Debug)]
pub struct Curation {
    seed: u64,
    active: bool,
    epoch: u64,
    place: usize,
    order: Vec<usize>,
    hardness: Vec<f32>,
    seen: Vec<u32>,
    drawn: Vec<usize>,
}

impl Curation {
    /// Draws from `images` images; without `active` each is seen as often as any other.
    pub fn new(images: usize, active: bool, seed: u64) -> Self {
        let order = Numbers::of(seed, &[ORDER, 0]).order(images);
        let (hardness, seen) = (vec![1.0; images], vec![0; images]);
        Self { seed, active, epoch: 0, place: 0, order, hardness, seen, drawn: Vec::new() }
    }

    /// The next `count` images.
    pub fn draw(&mut self, count: usize) -> &[usize] {
        self.drawn.clear();
        while self.drawn.len() < count && !self.order.is_empty() {
            if self.place == self.order.len() {
                (self.epoch, self.place) = (self.epoch + 1, 0);
                self.order = Numbers::of(self.seed, &[ORDER, self.epoch]).order(self.order.len());
            }
            let image = self.order[self.place];
            let chance = Numbers::of(self.seed, &[KEEP, self.epoch, self.place as u64]).unit();
            self.place += 1;
            if !self.active || chance < f64::from(self.hardness[image].max(FLOOR)) {
                self.seen[image] += 1;
                self.drawn.push(image);
            }
        }
        &self.drawn
    }

    /// Hears the losses of the images drawn last.
    pub fn learnt(&mut self, losses: &[f32]) {
        for (image, loss) in self.drawn.iter().zip(losses) {
            self.hardness[*image] = loss.clamp(0.0, 1.0);
        }
    }

    /// How often each image was seen.
    pub fn seen(&self) -> &[u32] {
        &self.seen
    }

    /// Probability with which each image is kept now, but for a floor; 1 for images that were not seen yet.
    pub fn hardness(&self) -> &[f32] {
        &self.hardness
    }

    /// What the next draw depends on.
    pub fn memory(&self) -> BTreeMap<String, Vec<f32>> {
        let at = |value: usize| [(value >> 20) as f32, (value & 0xf_ffff) as f32];
        let place = [at(self.epoch as usize), at(self.place)].concat();
        let seen = self.seen.iter().map(|count| *count as f32).collect();
        let named = [("hardness", self.hardness.clone()), ("place", place), ("seen", seen)];
        named.map(|(name, values)| (name.to_owned(), values)).into()
    }

    /// Takes back what [`Curation::memory`] gave.
    ///
    /// # Errors
    /// What does not fit.
    pub fn recall(&mut self, memory: &BTreeMap<String, Vec<f32>>) -> Result<(), String> {
        let hardness = memory.get("hardness").filter(|hardness| hardness.len() == self.order.len());
        let place = memory.get("place").filter(|place| place.len() == 4);
        let (Some(hardness), Some(place)) = (hardness, place) else {
            return Err(format!("expected the losses of {} images and a place among them", self.order.len()));
        };
        let at = |high: f32, low: f32| ((high as usize) << 20) + low as usize;
        (self.epoch, self.place) =
            (at(place[0], place[1]) as u64, at(place[2], place[3]).min(self.order.len()));
        self.hardness.clone_from(hardness);
        // Runs before these were counted lack them: they are counted from here on.
        let seen = memory.get("seen").filter(|seen| seen.len() == self.seen.len());
        self.seen =
            seen.map_or_else(|| vec![0; self.seen.len()], |seen| seen.iter().map(|x| *x as u32).collect());
        self.order = Numbers::of(self.seed, &[ORDER, self.epoch]).order(self.order.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(active: bool) -> [f64; 2] {
        // A tenth of the images are painted badly, the others well.
        let mut curation = Curation::new(200, active, 3);
        let (mut hard, mut all) = (0, 0);
        for _ in 0..400 {
            let losses: Vec<f32> =
                curation.draw(20).iter().map(|image| if image % 10 == 0 { 0.8 } else { 0.2 }).collect();
            hard += losses.iter().filter(|loss| **loss > 0.5).count();
            all += losses.len();
            curation.learnt(&losses);
        }
        [f64::from(hard as u32) / f64::from(all as u32), f64::from(all as u32)]
    }

    #[test]
    fn hard_images_are_seen_more_in_the_ratio_of_their_losses() {
        let [plain, drawn] = shares(false);
        assert!((plain - 0.1).abs() < 1e-9 && drawn == 8000.0, "{plain}");
        let [curated, _] = shares(true);
        // 0.1 * 0.8 / (0.1 * 0.8 + 0.9 * 0.2), but for the first look at each.
        assert!((curated - 0.308).abs() < 0.03, "{curated}");
    }

    #[test]
    fn goes_on_where_it_was() {
        let mut whole = Curation::new(50, true, 9);
        let losses = |images: &[usize]| images.iter().map(|image| *image as f32 / 50.0).collect::<Vec<_>>();
        for _ in 0..30 {
            let losses = losses(whole.draw(7));
            whole.learnt(&losses);
        }
        let mut resumed = Curation::new(50, true, 9);
        resumed.recall(&whole.memory()).unwrap();
        for _ in 0..30 {
            let drawn = whole.draw(7).to_vec();
            assert_eq!(resumed.draw(7), drawn);
            assert_eq!(resumed.seen(), whole.seen());
            let losses = losses(&drawn);
            whole.learnt(&losses);
            resumed.learnt(&losses);
        }
        assert!(Curation::new(51, true, 9).recall(&whole.memory()).is_err());
    }
}
