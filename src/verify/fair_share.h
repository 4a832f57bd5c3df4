// SPDX-License-Identifier: Apache-2.0
// Max-min fair rates of flows over links, kept up to date as flows come and go.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace tutti::verify {

// Progressive filling (Bertsekas and Gallager, Data Networks, 2nd edition, section 6.5.2): the
// rates of all flows grow together; a flow stops at its own cap or where a link on its path is
// full. Knows no time and no bytes. Rates and capacities have one unit, here bytes per ns.
//
// What flows do to each other stays within the flows that share a link, or share one with a flow
// that does, and so on: update() looks at these alone.
class FairShare {
 public:
  using Flow = uint32_t;

  // Capacities by link, each above 0.
  explicit FairShare(std::vector<double> capacities);

  // `path` names links and must outlive the flow; a link that is named twice is paid twice. `cap`
  // is above 0 and may be infinity. Until the next update() the rate of the flow is 0. Numbers of
  // removed flows are used again.
  Flow add(std::span<const uint32_t> path, double cap);
  void remove(Flow flow);

  // Brings the rates up to date and returns the flows whose rate is no longer what it was, new ones
  // included. The span is valid until the next call of any function.
  std::span<const Flow> update();

  double rate(Flow flow) const { return flows_[flow].rate; }

 private:
  struct FlowState {
    std::span<const uint32_t> path;
    std::vector<uint32_t> places;  // by hop: where the link's list of crossings has this flow
    double cap = 0;
    double rate = 0;
    double next_rate = kOpen;
    uint64_t seen = 0;  // round in which a component was found to hold it
  };
  struct Crossing {
    Flow flow;
    uint32_t hop;
  };
  struct LinkState {
    double capacity = 0;
    std::vector<Crossing> crossings;
    bool changed = false;  // listed in changed_links_
    uint64_t seen = 0;
    // While a component is filled:
    double left = 0;
    uint32_t open = 0;  // crossings of flows that have no next rate yet
  };
  using Share = std::pair<double, uint32_t>;  // what each open crossing of the link may have

  static constexpr double kOpen = -1;

  void touch(uint32_t link);
  void find_component(uint32_t link);
  void visit(Flow flow);
  void fill();
  void fill_lone_flow();
  void push_share(uint32_t link);
  Share pop_share();
  void settle(Flow flow, double rate);
  void settle_capped(double below);
  void publish(Flow flow);

  std::vector<LinkState> links_;
  std::vector<FlowState> flows_;
  std::vector<Flow> free_;
  std::vector<uint32_t> changed_links_;
  std::vector<Flow> pathless_;  // new flows that cross no link
  std::vector<Flow> changed_;
  uint64_t round_ = 0;
  // The component at hand.
  std::vector<uint32_t> component_links_;
  std::vector<Flow> component_flows_;
  std::vector<Share>
      shares_;              // heap, the least first; a share may be out of date, but only too low
  size_t next_capped_ = 0;  // into component_flows_, which fill() sorts by cap
};

}  // namespace tutti::verify
