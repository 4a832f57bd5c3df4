// SPDX-License-Identifier: Apache-2.0
// Command lines: what our programs need of CLI11. Its header costs each file that includes it
// seconds, so that only cli.cc does.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tutti::cli {

// What the user got wrong, as the sentence to print. Callbacks may throw it.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// To be thrown, in the parser's own words.
UsageError missing(const std::string& name);
UsageError unexpected(const std::string& argument);
UsageError wrong_value(const std::string& option, const std::string& reason);

// A handle on an option, positional argument or flag; lives no longer than its CommandLine.
class Option {
 public:
  Option& required();
  Option& needs(const Option& other);
  Option& excludes(const Option& other);  // either way
  // How help calls the value.
  Option& type_name(const std::string& name);
  // Help shows the variable's present value as the default.
  Option& capture_default_str();
  // One argument may hold several values.
  Option& delimiter(char between);
  // A list takes one value each time that it is given, not all words that follow.
  Option& one_each();

  // Each value must be ...
  Option& range(int least, int most);
  Option& range(double least, double most);
  Option& positive();
  Option& non_negative();
  Option& one_of(std::initializer_list<const char*> words);
  // `check` returns what is wrong with a value, or "".
  Option& check(std::function<std::string(const std::string&)> check);
  // A number that may have a suffix: K, M, G, ... are powers of 1024.
  Option& size_suffix();

 private:
  friend class Command;
  explicit Option(CLI::Option* option) : option_(option) {}
  CLI::Option* option_;
};

// A handle on a program or subcommand; lives no longer than its CommandLine. `names` are as in
// "-n,--ranks", or one without dashes for a positional argument. Variables that values go to must
// outlive the parsing.
class Command {
 public:
  Command add_subcommand(const std::string& name, const std::string& description);
  Option add_option(const std::string& names, std::string& value, const std::string& help = {});
  Option add_option(const std::string& names, int& value, const std::string& help = {});
  Option add_option(const std::string& names, uint64_t& value, const std::string& help = {});
  Option add_option(const std::string& names, double& value, const std::string& help = {});
  Option add_option(const std::string& names, bool& value, const std::string& help = {});
  Option add_option(const std::string& names, std::vector<int>& value,
                    const std::string& help = {});
  Option add_option(const std::string& names, std::vector<std::string>& value,
                    const std::string& help = {});
  Option add_option_callback(const std::string& names, const std::function<void(int)>& take,
                             const std::string& help);
  Option add_flag(const std::string& names, bool& value, const std::string& help);
  Option add_flag_callback(const std::string& names, std::function<void()> given,
                           const std::string& help);
  // Of an option that is repeated the last counts; else that is an error. For options added later.
  Command& take_last();

  // Runs when this command has been named and everything has been parsed.
  Command& callback(std::function<void()> callback);
  Command& require_subcommand();
  // The first word that is no option ends the parsing: it and all that follow are remaining().
  Command& prefix_command();
  // Not listed by help.
  Command& hide();
  // Replaces the usage that help shows; a whole line.
  Command& usage(const std::string& line);
  Command& footer(const std::string& text);
  Command& version_flag(const std::string& names, const std::string& text);

  Command subcommand(const std::string& name) const;
  bool takes_value(const std::string& option) const;  // false too when there is no such option
  std::vector<std::string> remaining() const;
  std::string chosen_subcommand() const;  // "" when none was named
  std::string help() const;

 protected:
  explicit Command(CLI::App* app) : app_(app) {}
  CLI::App* app_;
};

// Owns the parser.
class CommandLine : public Command {
 public:
  // Without a name help shows how the program was started.
  explicit CommandLine(const std::string& description, const std::string& name = {});
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Parses and runs the callbacks. Prints help, version and what the user got wrong, and returns
  // the status to exit with; none when the program is to go on.
  std::optional<int> parse(int argc, const char* const* argv);
  // The same for arguments without the program's name. Throws UsageError, printing nothing; false
  // after help or version.
  bool parse_or_throw(const std::vector<std::string>& arguments);

 private:
  explicit CommandLine(std::unique_ptr<CLI::App> app);
  std::unique_ptr<CLI::App> owned_;
};

}  // namespace tutti::cli
