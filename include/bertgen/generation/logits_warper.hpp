// What sampling leaves of the scores: temperature, and the cut-offs that drop unlikely tokens, in transformers' order.
#pragma once

#include <numeric>

#include "bertgen/core/export.hpp"
#include "bertgen/generation/logits_processor.hpp"

namespace BERTGEN_PUBLIC bertgen {
/// What sampling leaves of the scores: a class an option.
namespace warpers {

using processors::banned;

/// The score that exactly `count` scores, ties aside, are at or above; `count` is cut to the size of the row.
template <typename T>
T nth_largest(std::span<const T> scores, std::size_t count) {
  std::vector<T> copy(scores.begin(), scores.end());
  const auto nth = copy.begin() + static_cast<std::ptrdiff_t>(std::min(count, copy.size()) - 1);
  std::nth_element(copy.begin(), nth, copy.end(), std::greater<T>());
  return *nth;
}

/// The ids of finite scores; the others have no probability to lose.
template <typename T>
std::vector<std::size_t> finite_ids(std::span<const T> scores) {
  std::vector<std::size_t> ids;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > banned<T>) ids.push_back(i);
  }
  return ids;
}

/// Divides scores: transformers' TemperatureLogitsWarper.
template <typename T>
class Temperature final : public LogitsProcessor<T> {
 public:
  /// Below 1 sharpens the distribution.
  explicit Temperature(double temperature) : temperature_(static_cast<T>(temperature)) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    for (T& score : scores) score /= temperature_;
  }

 private:
  T temperature_;
};

/// top_h: the likeliest tokens that together have a share of the entropy; the first always stays.
template <typename T>
class TopH final : public LogitsProcessor<T> {
 public:
  /// `share`: of the distribution's entropy.
  explicit TopH(double share) : share_(static_cast<T>(share)) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    constexpr std::size_t considered = 100;  // transformers' cap
    std::vector<std::size_t> ids = finite_ids<T>(scores);
    const std::size_t count = std::min(considered, ids.size());
    std::partial_sort(
        ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
        [&](std::size_t a, std::size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    std::vector<T> logs(count);
    for (std::size_t i = 0; i < count; ++i) logs[i] = scores[ids[i]];
    log_softmax<T>(logs);
    T entropy = 0;
    for (T log : logs) entropy -= std::exp(log) * log;
    T sum = 0;
    std::size_t kept = 0;
    for (; kept < count; ++kept) {
      sum -= std::exp(logs[kept]) * logs[kept];
      if (kept > 0 && !(sum <= entropy * share_)) break;
    }
    for (std::size_t i = kept; i < ids.size(); ++i) scores[ids[i]] = banned<T>;
  }

 private:
  T share_;
};

/// top_k: no score below the k-th largest; equals of it stay.
template <typename T>
class TopK final : public LogitsProcessor<T> {
 public:
  /// `k`: ids that stay; `keep`: at least.
  TopK(std::size_t k, std::size_t keep) : k_(std::max(k, keep)) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    const T least = nth_largest<T>(scores, k_);
    for (T& score : scores) {
      if (score < least) score = banned<T>;
    }
  }

 private:
  std::size_t k_;
};

/// top_p: drops the unlikeliest tokens that together have a probability of at most 1 − p.
template <typename T>
class TopP final : public LogitsProcessor<T> {
 public:
  /// `p`: probability that stays; `keep`: ids that stay at least.
  TopP(double p, std::size_t keep) : dropped_(static_cast<T>(1 - p)), keep_(keep) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    std::vector<std::size_t> ids = finite_ids<T>(scores);
    std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
    const T normaliser = log_sum_exp<T>(scores);
    T sum = 0;
    for (std::size_t i = 0; i + keep_ < ids.size(); ++i) {
      sum += std::exp(scores[ids[i]] - normaliser);
      if (sum > dropped_) return;
      scores[ids[i]] = banned<T>;
    }
  }

 private:
  T dropped_;
  std::size_t keep_;
};

/// min_p: drops tokens less probable than p times the likeliest.
template <typename T>
class MinP final : public LogitsProcessor<T> {
 public:
  /// `p`: of the largest probability; `keep`: ids that stay at least.
  MinP(double p, std::size_t keep) : p_(static_cast<T>(p)), keep_(keep) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    std::vector<std::size_t> ids = finite_ids<T>(scores);
    std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    const T normaliser = log_sum_exp<T>(scores);
    for (std::size_t i = keep_; i < ids.size(); ++i) {
      const T likeliest = std::exp(scores[ids[0]] - normaliser);
      if (std::exp(scores[ids[i]] - normaliser) < p_ * likeliest) scores[ids[i]] = banned<T>;
    }
  }

 private:
  T p_;
  std::size_t keep_;
};

/// typical_p: the tokens whose surprise is nearest to the entropy, until they have the probability `mass`.
template <typename T>
class Typical final : public LogitsProcessor<T> {
 public:
  /// `mass`: probability that stays; `keep`: ids that stay at least.
  Typical(double mass, std::size_t keep) : mass_(static_cast<T>(mass)), keep_(keep) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    std::vector<std::size_t> ids = finite_ids<T>(scores);
    if (ids.empty()) return;
    const T normaliser = log_sum_exp<T>(scores);
    T entropy = 0;
    for (std::size_t id : ids) entropy -= std::exp(scores[id] - normaliser) * (scores[id] - normaliser);
    std::vector<T> distance(scores.size());
    for (std::size_t id : ids) distance[id] = std::abs(normaliser - scores[id] - entropy);
    std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return distance[a] < distance[b]; });
    T sum = 0;
    std::size_t last = 0;  // the first token that reaches the mass still stays
    for (; last + 1 < ids.size(); ++last) {
      sum += std::exp(scores[ids[last]] - normaliser);
      if (!(sum < mass_)) break;
    }
    const T farthest = distance[ids[last]];
    for (std::size_t i = keep_; i < ids.size(); ++i) {
      if (distance[ids[i]] > farthest) scores[ids[i]] = banned<T>;
    }
  }

 private:
  T mass_;
  std::size_t keep_;
};

/// epsilon_cutoff: drops tokens less probable than epsilon. eta_cutoff: than the lesser of epsilon and
/// √epsilon · exp(−entropy).
template <typename T>
class Cutoff final : public LogitsProcessor<T> {
 public:
  /// Which of transformers' EpsilonLogitsWarper and EtaLogitsWarper.
  enum class Kind : bool { epsilon, eta };
  /// `epsilon`: the least probability; `keep`: ids that stay at least.
  Cutoff(Kind kind, double epsilon, std::size_t keep) : kind_(kind), epsilon_(static_cast<T>(epsilon)), keep_(keep) {}
  void process(const LogitsContext&, std::span<T> scores) const override {
    const T normaliser = log_sum_exp<T>(scores);
    const std::vector<std::size_t> ids = finite_ids<T>(scores);
    T least = epsilon_;
    if (kind_ == Kind::eta) {
      T entropy = 0;
      for (std::size_t id : ids) entropy -= std::exp(scores[id] - normaliser) * (scores[id] - normaliser);
      least = std::min(least, std::sqrt(epsilon_) * std::exp(-entropy));
    }
    const T kept = nth_largest<T>(scores, keep_);
    for (std::size_t id : ids) {
      if (scores[id] < kept && std::exp(scores[id] - normaliser) < least) scores[id] = banned<T>;
    }
  }

 private:
  Kind kind_;
  T epsilon_;
  std::size_t keep_;
};

/// renormalize_logits.
template <typename T>
class Renormalize final : public LogitsProcessor<T> {
 public:
  void process(const LogitsContext&, std::span<T> scores) const override { log_softmax<T>(scores); }
};

}  // namespace warpers
}  // namespace bertgen
