// SPDX-License-Identifier: Apache-2.0
// A target as a plain program: runs its seeds, the files and folders that it is given, and a seeded
// number of mutated variants of all of them.
//
//   TARGET_replay [--mutations N] [--seed S] [FILE|FOLDER...]
//
// An input that ends the process is left in TARGET_replay.finding in the working folder.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/seed_files.h"

// Only sanitizers have it.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

// For the signal handler; the input under way.
const char* current_bytes = nullptr;
size_t current_size = 0;
std::string finding_path;

void keep_current_input() {
  const int fd = ::open(finding_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  if (fd < 0 || current_bytes == nullptr) return;
  const ssize_t written = ::write(fd, current_bytes, current_size);
  constexpr std::string_view kText = "the input that did it is in ";
  if (written != static_cast<ssize_t>(current_size) || ::write(2, kText.data(), kText.size()) < 0 ||
      ::write(2, finding_path.data(), finding_path.size()) < 0 || ::write(2, "\n", 1) < 0) {
    return;
  }
}

void on_signal(int number) {
  keep_current_input();
  std::raise(number);  // SA_RESETHAND: the default action, after this returns
}

void catch_ends(const char* program) {
  const std::string path = program;
  finding_path = path.substr(path.rfind('/') + 1) + ".finding";
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_current_input);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM})
    ::sigaction(number, &action, nullptr);
}

void run_one(const std::string& bytes) {
  constexpr unsigned kMostSeconds = 60;  // far above what any input takes
  current_bytes = bytes.data();
  current_size = bytes.size();
  ::alarm(kMostSeconds);
  tutti::fuzz::run(bytes);
  ::alarm(0);
  current_bytes = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  catch_ends(argv[0]);
  size_t mutations = 2000;
  uint64_t seed = 1;
  std::vector<std::string> inputs = tutti::fuzz::seeds();
  const size_t n_seeds = inputs.size();
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--mutations" && i + 1 < argc) {
      mutations = std::stoul(argv[++i]);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else {
      for (auto& input : tutti::fuzz::read_inputs(argument))
        inputs.push_back(std::move(input.bytes));
    }
  }
  tutti::fuzz::require(!inputs.empty(), "there is a seed or a file");
  for (const std::string& input : inputs) run_one(input);
  tutti::fuzz::Mutator mutator(seed);
  for (size_t i = 0; i < mutations; ++i) run_one(mutator.next(inputs));
  std::printf("%zu seeds, %zu files, %zu mutations from seed %llu: no finding\n", n_seeds,
              inputs.size() - n_seeds, mutations, static_cast<unsigned long long>(seed));
  return 0;
}
