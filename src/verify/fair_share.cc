// SPDX-License-Identifier: Apache-2.0
// Progressive filling, one component of flows that share links at a time.
#include "src/verify/fair_share.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace tutti::verify {
namespace {

// Rates that differ by less are one rate that was computed in two ways.
constexpr double kSameRate = 1e-12;

}  // namespace

FairShare::FairShare(std::vector<double> capacities) : links_(capacities.size()) {
  for (size_t i = 0; i < links_.size(); ++i) links_[i].capacity = capacities[i];
}

FairShare::Flow FairShare::add(std::span<const uint32_t> path, double cap) {
  if (free_.empty()) {
    free_.push_back(static_cast<Flow>(flows_.size()));
    flows_.emplace_back();
  }
  const Flow flow = free_.back();
  free_.pop_back();
  FlowState& state = flows_[flow];
  state.path = path;
  state.cap = cap;
  state.rate = 0;
  state.places.clear();
  for (uint32_t hop = 0; hop < path.size(); ++hop) {
    std::vector<Crossing>& crossings = links_[path[hop]].crossings;
    state.places.push_back(static_cast<uint32_t>(crossings.size()));
    crossings.push_back({flow, hop});
    touch(path[hop]);
  }
  if (path.empty()) pathless_.push_back(flow);
  return flow;
}

void FairShare::remove(Flow flow) {
  const FlowState& state = flows_[flow];
  for (size_t hop = 0; hop < state.path.size(); ++hop) {
    std::vector<Crossing>& crossings = links_[state.path[hop]].crossings;
    const uint32_t place = state.places[hop];
    const Crossing last = crossings.back();
    crossings[place] = last;
    flows_[last.flow].places[last.hop] = place;
    crossings.pop_back();
    touch(state.path[hop]);
  }
  if (state.path.empty()) std::erase(pathless_, flow);
  free_.push_back(flow);
}

void FairShare::touch(uint32_t link) {
  if (links_[link].changed) return;
  links_[link].changed = true;
  changed_links_.push_back(link);
}

std::span<const FairShare::Flow> FairShare::update() {
  changed_.clear();
  ++round_;
  for (const uint32_t link : changed_links_) {
    links_[link].changed = false;
    if (links_[link].seen == round_) continue;
    find_component(link);
    if (component_flows_.size() == 1) {
      fill_lone_flow();
    } else {
      fill();
    }
    for (const Flow flow : component_flows_) publish(flow);
  }
  changed_links_.clear();
  for (const Flow flow : pathless_) {
    flows_[flow].next_rate = flows_[flow].cap;
    publish(flow);
  }
  pathless_.clear();
  return changed_;
}

void FairShare::find_component(uint32_t link) {
  component_links_.assign(1, link);
  component_flows_.clear();
  links_[link].seen = round_;
  for (size_t i = 0; i < component_links_.size(); ++i)
    for (const Crossing& crossing : links_[component_links_[i]].crossings) visit(crossing.flow);
}

void FairShare::visit(Flow flow) {
  FlowState& state = flows_[flow];
  if (state.seen == round_) return;
  state.seen = round_;
  state.next_rate = kOpen;
  component_flows_.push_back(flow);
  for (const uint32_t link : state.path) {
    if (links_[link].seen == round_) continue;
    links_[link].seen = round_;
    component_links_.push_back(link);
  }
}

void FairShare::fill_lone_flow() {
  FlowState& state = flows_[component_flows_.front()];
  double rate = state.cap;
  for (const uint32_t link : state.path) {
    const auto times = static_cast<double>(links_[link].crossings.size());
    rate = std::min(rate, links_[link].capacity / times);
  }
  state.next_rate = rate;
}

void FairShare::fill() {
  std::ranges::stable_sort(component_flows_, {}, [&](Flow flow) { return flows_[flow].cap; });
  next_capped_ = 0;
  for (const uint32_t link : component_links_) {
    links_[link].left = links_[link].capacity;
    links_[link].open = static_cast<uint32_t>(links_[link].crossings.size());
    push_share(link);
  }
  while (!shares_.empty()) {
    const auto [share, link] = pop_share();
    settle_capped(share);
    // A settled flow leaves the others of its links at least what they had; then look again.
    if (links_[link].open == 0) continue;
    if (links_[link].left / links_[link].open > share) {
      push_share(link);
      continue;
    }
    for (const Crossing& crossing : links_[link].crossings) settle(crossing.flow, share);
  }
}

void FairShare::push_share(uint32_t link) {
  if (links_[link].open == 0) return;
  shares_.emplace_back(links_[link].left / links_[link].open, link);
  std::ranges::push_heap(shares_, std::greater<>());
}

FairShare::Share FairShare::pop_share() {
  std::ranges::pop_heap(shares_, std::greater<>());
  const Share share = shares_.back();
  shares_.pop_back();
  return share;
}

// Every flow whose cap is at most `share`, the least share of any link, ends at its cap.
void FairShare::settle_capped(double share) {
  for (; next_capped_ < component_flows_.size(); ++next_capped_) {
    const Flow flow = component_flows_[next_capped_];
    if (flows_[flow].cap > share) return;
    settle(flow, flows_[flow].cap);
  }
}

void FairShare::settle(Flow flow, double rate) {
  FlowState& state = flows_[flow];
  if (state.next_rate != kOpen) return;
  state.next_rate = rate;
  for (const uint32_t link : state.path) {
    links_[link].left = std::max(0.0, links_[link].left - rate);
    --links_[link].open;
  }
}

void FairShare::publish(Flow flow) {
  FlowState& state = flows_[flow];
  if (state.rate == state.next_rate) return;
  if (std::abs(state.rate - state.next_rate) <= kSameRate * state.rate) return;
  state.rate = state.next_rate;
  changed_.push_back(flow);
}

}  // namespace tutti::verify
