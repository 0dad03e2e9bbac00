// batches.h - the stream as tokens: pieces are read one after another and laid out as the rows of each step. Of several
// processes each reads the pieces of its own rows only, and goes through the order and the exposures of all. One
// object, one thread.
#pragma once
#include <string>
#include <vector>

#include "dataloader/batch.h"
#include "dataloader/data_set.h"
#include "dataloader/stream.h"

// Positions and segment starts of the (rows, T) inputs: with the mask on, a segment begins at its EOT and at the row's
// start.
void place_segments(const std::vector<int>& inputs, int T, bool document_mask, int64_t eot_id,
                    std::vector<int>* positions, std::vector<int>* segment_start);

class Batches {
  public:
    // `data` must outlive it. `state`: of the batch before the first one wanted, "" for the beginning. A state that was
    // made with another data set or other options dies with Exit::Usage, naming what differs; with `new_horizon` the
    // run's length may differ. The rows are neighbouring ones of each step: [rows * part / parts, rows * (part + 1) /
    // parts).
    Batches(const DataSet& data, bool document_mask, const std::string& state, bool new_horizon, int part = 0,
            int parts = 1);
    int64_t step() const { return step_; }  // of the next batch
    std::string state() const;              // loader_state.json after the batches so far
    void make(Batch* batch);

    // The pieces that have a target in `step`, lengths only. Starts from where this object is, which must not be past
    // the step.
    std::vector<Piece> pieces_of(int64_t step);

  private:
    // A fact of the current piece whose value ends at stream position `last`, a target.
    struct Value {
        int64_t last;
        Exposure exposure;
    };
    void open_piece(const Piece& piece);
    bool has_own_token(const Piece& piece) const;  // from the next step on
    void restore(const std::string& text, bool new_horizon);

    const DataSet& data_;
    int64_t batch_tokens_, step_ = 0;
    int64_t own_begin_, own_end_;  // inputs of the own rows, in a step
    int T_;
    bool document_mask_;
    Stream stream_;
    Piece piece_;                        // holds the last token handed out
    std::vector<int32_t> piece_tokens_;  // empty: none of them is in the own rows
    std::vector<ValueSpan> spans_;
    std::vector<Value> values_;  // of piece_, ascending
};
