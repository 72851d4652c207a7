//! What a scenario's faults do to the world.

use super::node::Mail;
use super::store::GrantNoise;
use super::world::{Due, World};
use crate::scenario::FaultKind;

impl World<'_> {
    pub(super) fn fault(&mut self, index: usize) {
        let fault = &self.scenario.faults[index];
        match &fault.kind {
            FaultKind::Rates { node, rates } => {
                for index in 0..self.nodes.len() {
                    if node.is_none_or(|node| node == index) {
                        self.nodes[index].rates = Some(*rates);
                    }
                }
            }
            FaultKind::Grants { lost, twice, delay_max } => {
                let noise = GrantNoise { lost: *lost, twice: *twice, delay_max: *delay_max };
                self.set_grants(noise);
            }
            FaultKind::Crash { node, restart } => {
                if self.nodes[*node].up() {
                    self.crash(*node);
                    let life = self.nodes[*node].life;
                    self.queue.push(self.now + *restart, Due::Restart { node: *node, life });
                }
            }
            FaultKind::Freeze { node, lasts } => {
                if self.nodes[*node].up() && !self.nodes[*node].frozen {
                    self.freeze(*node, self.now + *lasts);
                }
            }
            FaultKind::Away { lasts, forget, refuses } => {
                if self.store.away.is_none() {
                    self.store_away(self.now + *lasts, *forget, *refuses);
                }
            }
            FaultKind::Clock { step_us } => self.step_clock(*step_us),
            FaultKind::Reload { node, roster } => self.hand_over(*node, Mail::Reload(*roster)),
            FaultKind::Ticks { node, late_max } => self.nodes[*node].late_max = *late_max,
            FaultKind::Operator { account, change } => self.operate(*account, *change),
            // There is no network here.
            FaultKind::Leave { .. }
            | FaultKind::UpstreamDown { .. }
            | FaultKind::Cut { .. }
            | FaultKind::Hold { .. } => {}
        }
    }
}
