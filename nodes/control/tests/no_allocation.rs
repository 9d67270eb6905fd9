//! A tick allocates nothing: a control loop must not wait for an allocator.

use std::sync::Arc;

use control::{
    ActionChunk, ActionSpace, Controller, Joint, JointLimits, Measured, Output, RosTime, Settings,
    SteadyTime, Strategy,
};

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

#[test]
fn a_tick_and_a_measurement_allocate_nothing() {
    let strategies = [Strategy::Newest, Strategy::CrossFade { secs: 0.1 }, Strategy::Ensemble { m: 0.01 }];
    for strategy in strategies {
        let space = Arc::new(ActionSpace::JointPositions((0..7).map(joint).collect()));
        let settings = Settings { strategy, ..Settings::default() };
        let mut controller = Controller::new(space.clone(), settings, None).unwrap();
        let (mut ros, mut steady) = (RosTime(0), SteadyTime(0));
        let mut positions = [0.0; 7];
        controller.arm().unwrap();
        let mut moved = 0;
        for tick in 0..500 {
            (ros, steady) = (ros + 0.01, steady + 0.01);
            if tick % 10 == 0 {
                let chunk = ActionChunk::new(space.clone(), ros, 0.05, vec![1.0; 7 * 16]).unwrap();
                controller.chunk(chunk, ros, steady).unwrap();
            }
            let counted = allocation_counter::measure(|| {
                controller.deadman(true, steady);
                let measured = Measured { stamp: ros, positions: &positions, ..Measured::default() };
                controller.measure(&measured, steady).unwrap();
                if let Output::Command(command) = controller.tick(ros, steady).output {
                    positions.copy_from_slice(command);
                    moved += 1;
                }
            });
            assert_eq!(counted.count_total, 0, "tick {tick} with {strategy:?}");
        }
        assert!(moved > 490 && (positions[0] - 1.0).abs() < 1e-6, "{moved} {positions:?}");
    }
}
