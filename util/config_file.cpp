#include "util/config_file.h"

#include <toml++/toml.h>
#include <algorithm>
#include <charconv>

#include "util/check.h"

namespace {

class Reader {
  public:
    Reader(const std::string& name, std::string_view text) : name_(name) {
        try {
            table_ = toml::parse(text);
        } catch (const toml::parse_error& error) {
            refuse(error.source().begin.line, std::string(error.description()));
        }
    }

    std::vector<ConfigEntry> entries() const {
        std::vector<ConfigEntry> found;
        for (const auto& [key, node] : table_) {
            const int line = static_cast<int>(key.source().begin.line);
            ConfigEntry entry{std::string(key.str()), {}, line};
            if (const toml::array* array = node.as_array())
                for (const toml::node& element : *array) entry.values.push_back(value(entry.key, element));
            else
                entry.values.push_back(value(entry.key, node));
            if (entry.values.empty()) refuse(line, "'" + entry.key + "' has no value; leave the line out");
            found.push_back(std::move(entry));
        }
        // the library sorts by key
        std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.line < b.line; });
        return found;
    }

  private:
    [[noreturn]] void refuse(toml::source_index line, const std::string& what) const {
        die(Exit::Usage, "--config %s: line %d: %s", name_, line, what);
    }

    std::string value(const std::string& key, const toml::node& node) const {
        if (const auto* text = node.as_string()) return text->get();
        if (const auto* flag = node.as_boolean()) return flag->get() ? "on" : "off";
        if (const auto* number = node.as_integer()) return std::to_string(number->get());
        if (const auto* number = node.as_floating_point()) {
            char digits[32];  // the shortest of the same value
            return {digits, std::to_chars(digits, digits + sizeof digits, number->get()).ptr};
        }
        refuse(node.source().begin.line,
               "'" + key + "': a flag takes a text in quotes, a number, true, false, or an array of some");
    }

    const std::string& name_;
    toml::table table_;
};

}  // namespace

std::vector<ConfigEntry> parse_config(const std::string& name, std::string_view text) {
    return Reader(name, text).entries();
}
