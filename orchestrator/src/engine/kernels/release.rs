//! The disk of a guest that boots a built kernel, for ports that boot from their disk: with the port's
//! system, or with that which was built with the kernel.

use super::super::bus::Bus;
use super::super::facts::Setup;
use super::super::jobs::{JobFailed, reporter};
use crate::build::KernelBuilt;
use crate::image::{self, Image};
use crate::model::{Port, StageResult};

/// Assembles it, or finds it; none where a kernel is given to the emulator.
pub(super) async fn disk(
    setup: &Setup,
    port: &Port,
    kernel: &KernelBuilt,
    job: &str,
    bus: &Bus,
) -> Result<Option<Image>, JobFailed> {
    let tell = reporter(bus, job);
    let dirs = setup.image_dirs();
    let tell = move |p: image::Progress| tell(&p.doing, p.done);
    let made = match (&kernel.system, port.image.release.clone()) {
        (Some(system), Some(mut release)) => {
            release.from = Some(system.clone());
            let mut port = port.clone();
            port.image.release = Some(release);
            image::ensure_image(&port, &dirs, false, tell)
                .await
                .map(Some)
        }
        _ => image::ensure_with_kernel(port, &kernel.kernel, &dirs, tell).await,
    };
    made.map_err(|e| JobFailed {
        stage: StageResult::ImageFailed,
        detail: e.to_string(),
    })
}
