// SPDX-License-Identifier: Apache-2.0
// Writes and reads hops.
#include "src/verify/hop_text.h"

#include <charconv>

namespace tutti::verify {

std::string hop_text(const Hop& hop) {
  return (hop.reverse ? "-" : "+") + std::to_string(hop.link);
}

Hop read_hop(const plan::JsonNode& item) {
  const std::string text = item.text();
  Hop hop;
  const char* const end = text.data() + text.size();
  const bool signed_text = text.size() > 1 && (text[0] == '+' || text[0] == '-');
  const char* const digits = text.data() + 1;
  if (!signed_text || *digits < '0' || *digits > '9')
    item.expected("a hop such as \"+3\" or \"-3\"");
  const auto [last, error] = std::from_chars(digits, end, hop.link);
  if (error != std::errc{} || last != end) item.expected("a hop such as \"+3\" or \"-3\"");
  hop.reverse = text[0] == '-';
  return hop;
}

}  // namespace tutti::verify
