#include "bertgen/generation/generate.hpp"

namespace bertgen {

template BasicGenerateOutput<float> generate<float>(const BasicEncoderDecoderModel<float>&, const GenerateInputs&,
                                                    const GenerationConfig&, Workspace&,
                                                    const GenerateArguments<float>&);
template BasicGenerateOutput<double> generate<double>(const BasicEncoderDecoderModel<double>&, const GenerateInputs&,
                                                      const GenerationConfig&, Workspace&,
                                                      const GenerateArguments<double>&);

}  // namespace bertgen
