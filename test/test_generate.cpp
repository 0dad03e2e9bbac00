// Greedy continuations: equal to token-by-token decoding with whole forward passes, whatever else is asked.
#include <algorithm>

#include "eval/generate.cuh"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/test_eval_models.h"

TEST_CASE("greedy continuations are what token-by-token decoding gives", "[eval]") {
    for (const char* name : {"gpt2:L2:C32:H2", "pythia:L2:C24:H3"}) {
        const Gpt<float> gpt = random_model(name);
        const TemporaryFolder folder;
        QuestionBuilder built = synthetic_questions(8, 2, 1, gpt.config.V);
        built.eot_id = 0;
        built.write(folder / "set");
        const QuestionSet set(folder / "set", gpt.config.V, gpt.config.max_T);
        const std::vector<uint32_t> all = set.choose(0, 1);
        const int most = 9;
        const std::vector<std::vector<int>> texts = generate(gpt, set, all, most, {});
        size_t ended = 0;
        for (const uint32_t i : all) {
            std::vector<int> expected = decode(gpt, with_eot(built, built.questions[i]), most);
            const auto eot = std::find(expected.begin(), expected.end(), built.eot_id);
            ended += eot != expected.end();
            expected.erase(eot, expected.end());
            REQUIRE(texts[i] == expected);
        }
        INFO(name << ": " << ended << " of " << all.size() << " ended");
        CHECK(ended < all.size());

        // alone, in another order, shorter
        const std::vector<uint32_t> some = {all[40], all[3], all[17]};
        const std::vector<std::vector<int>> again = generate(gpt, set, some, 4, {});
        for (size_t i = 0; i < some.size(); ++i) {
            const std::vector<int>& whole = texts[some[i]];
            REQUIRE(again[i] ==
                    std::vector<int>(whole.begin(), whole.begin() + std::min<std::ptrdiff_t>(
                                                                        4, static_cast<std::ptrdiff_t>(whole.size()))));
        }
    }
}
