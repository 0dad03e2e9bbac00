// metrics_log.h - metrics.jsonl and eval.jsonl: one JSON object a line, appended and handed to the system line by line.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The members of a line, in the order in which they were added. Numbers are the shortest decimals that read back as the
// same value. JSON has no NaN and no infinity: they become the strings "NaN", "Infinity" and "-Infinity", which
// Python's float() and pandas.to_numeric() take.
class MetricsLine {
  public:
    void add(std::string_view name, double value);
    void add(std::string_view name, int64_t value);
    void add(std::string_view name, int value) { add(name, static_cast<int64_t>(value)); }
    void add(std::string_view name, std::string_view text);
    void add(std::string_view name, const char* text) { add(name, std::string_view(text)); }
    std::string json() const { return "{" + members_ + "}"; }
    // What add(double) and add(int64) were given, for TensorBoard and the stopping rules.
    const std::vector<std::pair<std::string, double>>& numbers() const { return numbers_; }

  private:
    void key(std::string_view name);
    std::string members_;
    std::vector<std::pair<std::string, double>> numbers_;
};

// Opened to append, or emptied first. A line is one write(), so that a killed run leaves whole lines; a resume cuts the
// file to the size() that its checkpoint knows.
class MetricsFile {
  public:
    MetricsFile() = default;
    MetricsFile(const std::string& path, bool append);
    ~MetricsFile();
    MetricsFile(MetricsFile&& other) noexcept { *this = std::move(other); }
    MetricsFile& operator=(MetricsFile&& other) noexcept;
    MetricsFile(const MetricsFile&) = delete;
    MetricsFile& operator=(const MetricsFile&) = delete;

    void write(const MetricsLine& line);    // a full disk dies with Exit::Runtime
    int64_t size() const { return size_; }  // bytes
    void sync();                            // before a checkpoint says how long the file is

  private:
    std::string path_;
    int fd_ = -1;
    int64_t size_ = 0;
};
