// SPDX-License-Identifier: Apache-2.0
// Small MSCCL schedules from a few words, so that a test shows the steps and not the XML.
#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace tutti::testing {

// `lines`, one after the other: "gpu S_CHUNKS", "tb SEND RECV CHAN" and
// "TYPE SRC DST CNT [after TB STEP] [hasdep]", with places like i0 or s3.
class MscclSchedule {
 public:
  MscclSchedule(const std::string& algo, const std::vector<std::string>& lines) {
    xml_ = "<algo name=\"test\" " + algo + ">\n";
    for (const std::string& line : lines) add(line);
    close(2);
    xml_ += "</algo>\n";
  }
  const std::string& xml() const { return xml_; }

 private:
  void add(const std::string& line) {
    std::istringstream words(line);
    std::string word, a, b, c;
    words >> word >> a >> b >> c;
    if (word == "gpu") {
      close(2);
      xml_ += "<gpu id=\"" + std::to_string(++gpu_) + R"(" i_chunks="0" o_chunks="0" s_chunks=")" +
              a + "\">\n";
    } else if (word == "tb") {
      close(1);
      step_ = -1;
      xml_ += "<tb id=\"" + std::to_string(++tb_) + "\" send=\"" + a + "\" recv=\"" + b +
              "\" chan=\"" + c + "\">\n";
    } else {
      add_step(word, a, b, c, words);
    }
  }

  void add_step(const std::string& type, const std::string& src, const std::string& dst,
                const std::string& count, std::istringstream& rest) {
    std::string dep = "-1", deps = "-1", has_dep = "0";
    for (std::string word; rest >> word;) {
      if (word == "after") rest >> dep >> deps;
      if (word == "hasdep") has_dep = "1";
    }
    xml_ += "<step s=\"" + std::to_string(++step_) + "\" type=\"" + type + "\" srcbuf=\"" +
            src.substr(0, 1) + "\" srcoff=\"" + src.substr(1) + "\" dstbuf=\"" + dst.substr(0, 1) +
            "\" dstoff=\"" + dst.substr(1) + "\" cnt=\"" + count + "\" depid=\"" + dep +
            "\" deps=\"" + deps + "\" hasdep=\"" + has_dep + "\"/>\n";
  }

  void close(int levels) {
    if (tb_ >= 0) xml_ += "</tb>\n";
    if (levels < 2) return;
    if (gpu_ >= 0) xml_ += "</gpu>\n";
    tb_ = -1;
  }

  std::string xml_;
  int gpu_ = -1, tb_ = -1, step_ = -1;
};

}  // namespace tutti::testing
