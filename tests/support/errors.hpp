// What a test says of an error: its type, and the parts of its text that a reader needs.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>

namespace bertgen::test {

/// Fails unless `action` throws an Exception whose text contains every one of `parts`.
template <typename Exception, typename Action>
void expect_error(Action&& action, std::initializer_list<std::string_view> parts) {
  try {
    action();
  } catch (const Exception& error) {
    const std::string text = error.what();
    for (std::string_view part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "expected \"" << part << "\" in: " << text;
    }
    return;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "expected another type of error, got: " << error.what();
    return;
  }
  ADD_FAILURE() << "expected an error, got none";
}

}  // namespace bertgen::test
