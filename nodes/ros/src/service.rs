//! Answering services on the thread that spins.

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::executor::LocalSpawner;
use futures::task::LocalSpawnExt;
use r2r::{QosProfile, WrappedServiceTypeSupport};

use crate::rosout::Logger;

/// Where services are offered.
pub struct Services<'a> {
    /// The node that offers them.
    pub node: &'a mut r2r::Node,
    /// Runs their tasks.
    pub spawner: &'a LocalSpawner,
    /// Where failures are told.
    pub logger: Logger,
}

/// Offers a service that is answered at once.
///
/// # Errors
/// When the middleware refuses it.
pub fn answer<T>(
    services: &mut Services<'_>,
    name: &'static str,
    qos: QosProfile,
    mut reply: impl FnMut(&T::Request) -> T::Response + 'static,
) -> Result<()>
where
    T: WrappedServiceTypeSupport + 'static,
{
    let requests = services.node.create_service::<T>(name, qos).context(name)?;
    let logger = services.logger.clone();
    let task = requests.for_each(move |request| {
        let response = reply(&request.message);
        if let Err(error) = request.respond(response) {
            logger.warn(format!("{name}: cannot answer: {error}"));
        }
        std::future::ready(())
    });
    services.spawner.spawn_local(task).context("spawn")
}
