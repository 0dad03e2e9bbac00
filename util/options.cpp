#include "util/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/config_file.h"
#include "util/files.h"
#include "util/numbers.h"
#include "util/spelling.h"

using ordered_json = nlohmann::ordered_json;

bool Range::holds(double value) const {
    return (above_low ? value > low : value >= low) && (below_high ? value < high : value <= high);
}

std::string Range::text() const {
    if (high == HUGE_VAL) return format_text(above_low ? "above %g" : "of at least %g", low);
    return format_text(above_low ? "above %g" : "from %g", low) +
           format_text(below_high ? " to below %g" : " to %g", high);
}

namespace {

void check_range(const Option& o, const std::string& text, double value) {
    if (!o.range.holds(value)) die(Exit::Usage, "--%s %s: expected a number %s", o.name, text, o.range.text());
}

bool is_choice(const Option& o) {
    return std::holds_alternative<std::string*>(o.field) && strchr(o.argument, '|') && std::islower(o.argument[0]);
}

bool is_list(const Option& o) {
    return std::holds_alternative<TextList*>(o.field) || std::holds_alternative<NamedList*>(o.field);
}

void set_value(const Option& o, const std::string& text) {
    const std::string flag = std::string("--") + o.name;
    if (auto* on = std::get_if<Switch*>(&o.field)) {  // in a file; on the command line it has no value
        if (text != "on" && text != "off") die(Exit::Usage, "%s: expected true or false, found '%s'", flag, text);
        **on = text == "on";
    } else if (auto* onoff = std::get_if<OnOff*>(&o.field)) {
        if (text != "on" && text != "off") die(Exit::Usage, "%s: expected on or off, found '%s'", flag, text);
        (*onoff)->on = text == "on";
    } else if (auto* count = std::get_if<Count*>(&o.field)) {
        (*count)->n = parse_count(flag, text);
        check_range(o, text, static_cast<double>((*count)->n));
    } else if (auto* all = std::get_if<CountOrAll*>(&o.field)) {
        (*all)->n = text == "all" ? -1 : parse_count(flag, text);
        if (text != "all") check_range(o, text, static_cast<double>((*all)->n));
    } else if (auto* integer = std::get_if<int64_t*>(&o.field)) {
        char* end = nullptr;
        errno = 0;
        **integer = strtoll(text.c_str(), &end, 10);
        if (!is_decimal(text) || *end || errno)
            die(Exit::Usage, "%s: expected a whole number from %d to %d, found '%s'", flag, INT64_MIN, INT64_MAX, text);
        check_range(o, text, static_cast<double>(**integer));
    } else if (auto* number = std::get_if<double*>(&o.field)) {
        **number = parse_number(flag, text);
        check_range(o, text, **number);
    } else if (auto* string = std::get_if<std::string*>(&o.field)) {
        const std::string words = std::string("|") + o.argument + "|";
        if (is_choice(o) && words.find("|" + text + "|") == std::string::npos)
            die(Exit::Usage, "%s: expected one of %s, found '%s'", flag, o.argument, text);
        **string = text;
    } else if (auto* list = std::get_if<TextList*>(&o.field)) {
        (*list)->push_back(text);
    } else if (auto* named = std::get_if<NamedList*>(&o.field)) {
        const size_t eq = text.find('=');
        if (eq == std::string::npos || eq == 0 || eq + 1 == text.size())
            die(Exit::Usage, "%s: expected %s, found '%s'", flag, o.argument, text);
        (*named)->emplace_back(text.substr(0, eq), text.substr(eq + 1));
    }
}

ordered_json value_json(const Option& o) {
    struct Visitor {
        ordered_json operator()(Switch* v) const { return *v; }
        ordered_json operator()(OnOff* v) const { return v->on; }
        ordered_json operator()(Count* v) const { return v->n < 0 ? ordered_json() : ordered_json(v->n); }
        ordered_json operator()(CountOrAll* v) const { return v->n < 0 ? ordered_json("all") : ordered_json(v->n); }
        ordered_json operator()(int64_t* v) const { return *v; }
        ordered_json operator()(double* v) const { return std::isnan(*v) ? ordered_json() : ordered_json(*v); }
        ordered_json operator()(std::string* v) const { return *v; }
        ordered_json operator()(TextList* v) const { return *v; }
        ordered_json operator()(NamedList* v) const {
            ordered_json list = ordered_json::array();
            for (const auto& [name, value] : *v) list.push_back(name + "=" + value);
            return list;
        }
    };
    return std::visit(Visitor{}, o.field);
}

std::string help_text(const std::string& program, const std::string& description, const std::vector<Option>& options) {
    std::string text = "usage: " + program + " [--option value ...]\n" + description + "\n";
    const char* group = "";
    for (const Option& o : options) {
        if (strcmp(group, o.group)) text += format_text("\n%s\n", group = o.group);
        const ordered_json value = value_json(o);
        std::string initial;
        if (std::holds_alternative<OnOff*>(o.field))
            initial = value.get<bool>() ? "on" : "off";
        else if (value.is_number_float())
            initial = format_text("%g", value.get<double>());
        else if (value.is_string())
            initial = value.get<std::string>();
        else if (value.is_number())
            initial = value.dump();
        const std::string left = std::string("--") + o.name + (*o.argument ? " " : "") + o.argument;
        text += format_text("  %-34s %s", left, o.help);
        text += initial.empty() ? "\n" : " [" + initial + "]\n";
    }
    return text +
           "\nother\n  --config FILE                      flags from a TOML file, a key a flag's name; the command "
           "line wins\n"
           "  --help                             this text\n";
}

// The flag whose name is nearest to a mistyped one, for the message.
std::string nearest(const std::string& name, const std::vector<Option>& options) {
    std::vector<std::string> flags;
    for (const Option& o : options) flags.push_back(std::string("--") + o.name);
    const std::string best = nearest_name(name, flags, 2);  // further away is no help
    return best.empty() ? "--help lists the options" : "did you mean " + best + "? --help lists the options";
}

}  // namespace

OptionTable::OptionTable(std::string program, std::string description, std::vector<Option> options)
    : program_(std::move(program)), description_(std::move(description)), options_(std::move(options)) {}

void OptionTable::parse(int argc, char** argv) {
    check_screen_at_exit();
    CLI::App app;
    app.set_help_flag();
    bool help = false;
    app.add_flag("--help,-h", help);
    std::vector<std::string> configs;
    app.add_option("--config", configs)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.allow_extras();  // so that an unknown flag gets our message, with a suggestion
    std::vector<std::vector<std::string>> texts(options_.size());
    std::vector<CLI::Option*> entries;
    for (size_t i = 0; i < options_.size(); ++i) {
        const Option& o = options_[i];
        const std::string flag = std::string("--") + o.name;
        if (auto* on = std::get_if<Switch*>(&o.field)) {
            entries.push_back(app.add_flag(flag, **on));
        } else {
            CLI::Option* entry = app.add_option(flag, texts[i]);
            entries.push_back(is_list(o) ? entry->expected(1, -1)
                                         : entry->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
        }
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        die(Exit::Usage, "%s; --help lists the options", e.what());
    }
    if (help) {
        fputs(help_text(program_, description_, options_).c_str(), stdout);
        exit(0);
    }
    for (const std::string& extra : app.remaining())
        if (!extra.empty())
            die(Exit::Usage, "%s: no such option; %s", extra, nearest(extra.substr(0, extra.find('=')), options_));
    if (configs.size() > 1) die(Exit::Usage, "--config: given twice (%s, %s); give it once", configs[0], configs[1]);
    std::vector<ConfigEntry> in_file(options_.size());
    if (!configs.empty()) config_file_ = configs[0];
    if (!configs.empty())
        for (ConfigEntry& entry : parse_config(configs[0], read_file(configs[0]))) {
            const auto is_meant = [&](const Option& o) { return o.name == entry.key; };
            const size_t i = std::find_if(options_.begin(), options_.end(), is_meant) - options_.begin();
            if (i == options_.size())
                die(Exit::Usage, "--config %s: line %d: %s: no such option; %s", configs[0], entry.line, entry.key,
                    nearest("--" + entry.key, options_));
            in_file[i] = std::move(entry);
        }
    for (size_t i = 0; i < options_.size(); ++i) {
        const Option& o = options_[i];
        const bool on_line = entries[i]->count() > 0;
        const std::vector<std::string>& values = on_line ? texts[i] : in_file[i].values;
        if (!on_line && values.empty()) continue;
        given_.push_back(o.name);
        if (!is_list(o) && values.size() > 1)
            die(Exit::Usage, "--%s: given twice (%s, %s); give it once", o.name, values[0], values[1]);
        for (const std::string& text : values) set_value(o, text);
    }
}

bool OptionTable::given(const std::string& name) const {
    return std::find(given_.begin(), given_.end(), name) != given_.end();
}

std::string OptionTable::json() const {
    ordered_json object = ordered_json::object();
    for (const Option& o : options_) object[o.name] = value_json(o);
    return object.dump();
}

std::vector<std::string> options_difference(const std::string& json_here, const std::string& json_there,
                                            const std::vector<std::string>& ignored) {
    const ordered_json here = ordered_json::parse(json_here), there = ordered_json::parse(json_there);
    std::vector<std::string> lines;
    for (const auto& [name, value] : here.items()) {
        if (std::find(ignored.begin(), ignored.end(), name) != ignored.end()) continue;
        const ordered_json other = there.contains(name) ? there[name] : ordered_json();
        if (other != value) lines.push_back("--" + name + ": " + value.dump() + " here, " + other.dump() + " there");
    }
    return lines;
}
