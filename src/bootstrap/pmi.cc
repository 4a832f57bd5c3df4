// SPDX-License-Identifier: Apache-2.0
// A client of the PMI-1 wire protocol over the descriptor that the launcher left open (PMI_FD).
// Hydra speaks it, and so does Slurm's pmi2 plugin, beside PMI-2; both client libraries would be a
// dependency and wait without a deadline.
#include <dlfcn.h>
#include <fcntl.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <span>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/socket.h"
#include "src/bootstrap/key_value.h"
#include "src/bootstrap/pmi_wire.h"

namespace tutti::bootstrap {
namespace {

constexpr const char* kKey = "tutti-launch";
constexpr const char* kRemedy =
    "look at the launcher's output, or set TUTTI_KEY and MASTER_ADDR to do without PMI";

std::optional<int> parse_whole(std::string_view text) {
  int value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
  return whole && value >= 0 ? std::optional(value) : std::nullopt;
}

// A descriptor of our own, so that the launcher's stays as it was.
Socket duplicate(int fd) {
  FileDescriptor copy{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
  if (!copy)
    throw system_error(fmt::format("PMI_FD={} is no descriptor of this process (was it closed by a "
                                   "wrapper around the program?)",
                                   fd),
                       errno);
  return Socket(std::move(copy));
}

// One conversation: request and answer in turn.
class PmiClient {
 public:
  PmiClient(Socket socket, Deadline deadline) : socket_(std::move(socket)), deadline_(deadline) {}

  // `expected` is the answer's command. Throws when it comes with rc other than 0.
  PmiMessage ask(const PmiMessage& request, const char* expected) {
    asked_ = request.command;
    try {
      const std::string line = format_pmi(request);
      socket_.send_all(std::as_bytes(std::span(line)), deadline_);
      PmiMessage answer = parse_pmi(receive_line());
      check(answer, expected);
      return answer;
    } catch (const Error& error) {
      throw Error(
          error.code() == StatusCode::kInvalidArgument ? StatusCode::kRemoteError : error.code(),
          fmt::format("PMI request {} failed: {}; {}", asked_, error.what(), kRemedy));
    }
  }
  static std::string field(const PmiMessage& answer, std::string_view key) {
    if (auto value = answer.find(key)) return std::move(*value);
    throw Error(StatusCode::kRemoteError, fmt::format("the launcher's PMI answer {} has no {}; {}",
                                                      answer.command, key, kRemedy));
  }

 private:
  std::string receive_line() {
    std::string line;
    for (;;) {
      std::array<std::byte, 1> next{};  // not more: what follows a line is not ours to read
      socket_.receive_all(next, deadline_);
      const char c = static_cast<char>(next[0]);
      if (c == '\n') return line;
      line += c;
      if (line.size() > kMaxPmiLineBytes) return line;  // parse_pmi() says so
    }
  }
  static void check(const PmiMessage& answer, const char* expected) {
    if (answer.command != expected) {
      throw Error(StatusCode::kRemoteError,
                  fmt::format("expected the answer {}, got {}", expected, answer.command));
    }
    const std::string rc = answer.find("rc").value_or("0");
    if (rc == "0") return;
    throw Error(StatusCode::kRemoteError,
                fmt::format("the launcher refused: rc={} {}", rc, answer.find("msg").value_or("")));
  }

  Socket socket_;
  const Deadline deadline_;
  std::string asked_;
};

void refuse_beside_mpi() {
  if (::dlsym(RTLD_DEFAULT, "MPI_Init") == nullptr) return;
  throw Error(StatusCode::kInvalidUsage,
              "this program uses MPI, whose library owns the connection to the launcher (PMI_FD): "
              "make a unique id on rank 0 (tuttiGetUniqueId) and pass it by MPI_Bcast, or set "
              "TUTTI_KEY and MASTER_ADDR");
}

}  // namespace

std::optional<std::string> why_no_pmi(int rank) {
  const auto fd = foreign_variable("PMI_FD");
  if (!fd.has_value()) {
    return foreign_variable("PMI_PORT").has_value()
               ? "PMI: the launcher uses PMI_PORT; start it so that it uses PMI_FD"
               : "PMI: PMI_FD is not set";
  }
  if (!parse_whole(*fd).has_value()) return fmt::format("PMI: PMI_FD='{}' is no descriptor", *fd);
  const std::string given = foreign_variable("PMI_RANK").value_or("");
  if (given == std::to_string(rank)) return std::nullopt;
  return fmt::format("PMI: PMI_RANK='{}' is of another job than rank {}", given, rank);
}

std::string share_by_pmi(const Sharing& sharing) {
  refuse_beside_mpi();
  PmiClient client(duplicate(parse_whole(foreign_variable("PMI_FD").value_or("")).value_or(-1)),
                   sharing.deadline);
  client.ask({.command = "init", .fields = {{"pmi_version", "1"}, {"pmi_subversion", "1"}}},
             "response_to_init");
  const PmiMessage limits = client.ask({.command = "get_maxes", .fields = {}}, "maxes");
  const int longest = parse_whole(PmiClient::field(limits, "vallen_max")).value_or(0);
  if (sharing.mine.size() >= static_cast<size_t>(longest)) {
    throw Error(StatusCode::kRemoteError,
                fmt::format("PMI values may have {} bytes here, {} are needed; {}", longest,
                            sharing.mine.size() + 1, kRemedy));
  }
  const std::string space = PmiClient::field(
      client.ask({.command = "get_my_kvsname", .fields = {}}, "my_kvsname"), "kvsname");
  if (sharing.rank == 0) {
    client.ask(
        {.command = "put", .fields = {{"kvsname", space}, {"key", kKey}, {"value", sharing.mine}}},
        "put_result");
  }
  client.ask({.command = "barrier_in", .fields = {}}, "barrier_out");
  std::string text = sharing.mine;
  if (sharing.rank != 0) {
    text = PmiClient::field(
        client.ask({.command = "get", .fields = {{"kvsname", space}, {"key", kKey}}}, "get_result"),
        "value");
  }
  client.ask({.command = "finalize", .fields = {}}, "finalize_ack");
  return text;
}

}  // namespace tutti::bootstrap
