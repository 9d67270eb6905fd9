//! What one tick of the controller costs, in microseconds: median, 99 of 100, most.
//!
//!     cargo run --release -p control --example tick_cost
//!
//! Seven joints, chunks of 50 steps at 20 Hz from a policy that is asked ten times a second, ticks at 100 Hz.

use std::sync::Arc;
use std::time::Instant;

use control::{
    ActionChunk, ActionSpace, Controller, Joint, JointLimits, Measured, Output, RosTime, Settings,
    SteadyTime, Strategy,
};

const TICKS: usize = 200_000;

fn joint(index: usize) -> Joint {
    let limits = JointLimits {
        min_position: -2.0,
        max_position: 2.0,
        max_velocity: 1.0,
        max_acceleration: 5.0,
        max_jerk: Some(50.0),
    };
    Joint { name: format!("joint_{index}"), limits }
}

/// Microseconds of each tick.
fn measure(strategy: Strategy) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let space = Arc::new(ActionSpace::JointPositions((0..7).map(joint).collect()));
    let settings = Settings {
        strategy,
        max_observation_age_secs: 10.0,
        deadman_timeout_secs: None,
        ..Default::default()
    };
    let mut controller = Controller::new(space.clone(), settings, None)?;
    let (mut ros, mut steady, mut positions) = (RosTime(0), SteadyTime(0), [0.0; 7]);
    controller.arm()?;
    let mut costs = Vec::with_capacity(TICKS);
    for tick in 0..TICKS {
        (ros, steady) = (ros + 0.01, steady + 0.01);
        if tick % 10 == 0 {
            let wish = |k: usize| ((tick as f64) * 0.003 + 0.1 * (k / 7) as f64).sin();
            let chunk = ActionChunk::new(space.clone(), ros, 0.05, (0..7 * 50).map(wish).collect())?;
            controller.chunk(chunk, ros, steady)?;
        }
        controller.measure(&Measured { stamp: ros, positions: &positions, ..Default::default() }, steady)?;
        let began = Instant::now();
        let told = controller.tick(ros, steady);
        let cost = began.elapsed();
        if let Output::Command(command) = told.output {
            positions.copy_from_slice(command);
        }
        costs.push(cost.as_secs_f64() * 1e6);
    }
    Ok(costs)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| blending | median | 99 of 100 | most |\n|---|---|---|---|");
    let strategies = [
        ("newest", Strategy::Newest),
        ("cross-fade", Strategy::CrossFade { secs: 0.1 }),
        ("ACT's ensemble of 25", Strategy::Ensemble { m: 0.01 }),
    ];
    for (name, strategy) in strategies {
        let mut costs = measure(strategy)?;
        costs.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| costs[((costs.len() - 1) as f64 * share) as usize];
        println!("| {name} | {:.2} | {:.2} | {:.1} |", at(0.5), at(0.99), at(1.0));
    }
    Ok(())
}
