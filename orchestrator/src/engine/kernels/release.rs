//! The disk of a guest that boots a built kernel, for ports that boot from their disk.

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
    let made = image::ensure_with_kernel(port, &kernel.kernel, &dirs, move |p| {
        tell(&p.doing, p.done);
    });
    made.await.map_err(|e| JobFailed {
        stage: StageResult::ImageFailed,
        detail: e.to_string(),
    })
}
