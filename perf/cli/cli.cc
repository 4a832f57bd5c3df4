// SPDX-License-Identifier: Apache-2.0
// Hands everything on to CLI11.
#include "perf/cli/cli.h"

#include <utility>

#include <CLI/CLI.hpp>

namespace tutti::cli {
namespace {

class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string line) : line_(std::move(line)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return line_; }

 private:
  std::string line_;
};

}  // namespace

UsageError missing(const std::string& name) { return UsageError(CLI::RequiredError(name).what()); }

UsageError unexpected(const std::string& argument) {
  return UsageError(CLI::ExtrasError({argument}).what());
}

UsageError wrong_value(const std::string& option, const std::string& reason) {
  return UsageError(CLI::ValidationError(option, reason).what());
}

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::needs(const Option& other) {
  option_->needs(other.option_);
  return *this;
}

Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

Option& Option::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::capture_default_str() {
  option_->capture_default_str();
  return *this;
}

Option& Option::one_each() {
  option_->allow_extra_args(false);
  return *this;
}

Option& Option::delimiter(char between) {
  option_->delimiter(between);
  return *this;
}

Option& Option::range(int least, int most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option& Option::range(double least, double most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option& Option::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Option& Option::non_negative() {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Option& Option::one_of(std::initializer_list<const char*> words) {
  option_->check(CLI::IsMember(std::vector<std::string>(words.begin(), words.end())));
  return *this;
}

Option& Option::check(std::function<std::string(const std::string&)> check) {
  option_->check(std::move(check));
  return *this;
}

Option& Option::size_suffix() {
  option_->transform(CLI::AsSizeValue(false));
  return *this;
}

Command Command::add_subcommand(const std::string& name, const std::string& description) {
  return Command(app_->add_subcommand(name, description));
}

Option Command::add_option(const std::string& names, std::string& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, int& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, uint64_t& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, double& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, bool& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, std::vector<int>& value,
                           const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option(const std::string& names, std::vector<std::string>& value,
                           const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

Option Command::add_option_callback(const std::string& names, const std::function<void(int)>& take,
                                    const std::string& help) {
  return Option(app_->add_option_function<int>(names, take, help));
}

Option Command::add_flag(const std::string& names, bool& value, const std::string& help) {
  return Option(app_->add_flag(names, value, help));
}

Option Command::add_flag_callback(const std::string& names, std::function<void()> given,
                                  const std::string& help) {
  return Option(app_->add_flag_callback(names, std::move(given), help));
}

Command& Command::take_last() {
  app_->option_defaults()->take_last();
  return *this;
}

Command& Command::callback(std::function<void()> callback) {
  app_->callback(std::move(callback));
  return *this;
}

Command& Command::require_subcommand() {
  app_->require_subcommand(1);
  return *this;
}

Command& Command::prefix_command() {
  app_->prefix_command();
  return *this;
}

Command& Command::hide() {
  app_->group("");
  return *this;
}

Command& Command::usage(const std::string& line) {
  app_->formatter(std::make_shared<UsageFormatter>(line));
  return *this;
}

Command& Command::footer(const std::string& text) {
  app_->footer(text);
  return *this;
}

Command& Command::version_flag(const std::string& names, const std::string& text) {
  app_->set_version_flag(names, text);
  return *this;
}

Command Command::subcommand(const std::string& name) const {
  return Command(app_->get_subcommand(name));
}

bool Command::takes_value(const std::string& option) const {
  const CLI::Option* found = app_->get_option_no_throw(option);
  return found != nullptr && found->get_items_expected() > 0;
}

std::vector<std::string> Command::remaining() const { return app_->remaining(); }

std::string Command::chosen_subcommand() const {
  const auto chosen = app_->get_subcommands();
  return chosen.empty() ? "" : chosen.front()->get_name();
}

std::string Command::help() const { return app_->help(); }

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : CommandLine(std::make_unique<CLI::App>(description, name)) {}

CommandLine::CommandLine(std::unique_ptr<CLI::App> app)
    : Command(app.get()), owned_(std::move(app)) {}

CommandLine::~CommandLine() = default;

std::optional<int> CommandLine::parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    return app_->exit(error);
  } catch (const UsageError& error) {
    return app_->exit(CLI::ValidationError(error.what()));
  }
}

bool CommandLine::parse_or_throw(const std::vector<std::string>& arguments) {
  try {
    app_->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // last first
    return true;
  } catch (const CLI::Success& success) {
    app_->exit(success);
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
}

}  // namespace tutti::cli
