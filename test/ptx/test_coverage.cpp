// Every kernel that nvcc wrote, each instance of a template of its own, is run by a case.
#include "test/cases/case.h"
#include "test/catch.h"
#include "test/ptx/launch.h"

TEST_CASE("every entry of nvcc's PTX is run by a case", "[cases][coverage]") {
    if (!ptx::never_run().empty())  // this test was started alone
        for (const Case& c : all_cases()) {
            try {
                c.make().run(case_stream(), true);
            } catch (const ptx::LeftOut&) {  // by choice of head sizes
            }
        }
    for (const std::string& name : ptx::never_run()) FAIL_CHECK(name << ": no case of test/cases launches it");
}
