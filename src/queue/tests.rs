//! The roles together: lives of segments as readable traces, `tests/scripts/queue/*`. One file, one rule.

mod cluster;
mod random;
mod script;
mod words;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                script::check(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_run() {
            assert_eq!(script::names(), [$(stringify!($name)),*]);
        }
    };
}

// Sorted, as the folder is.
scripts!(
    a_busy_storage_lets_segments_grow,
    a_clock_ahead_is_dropped,
    a_cluster_is_founded_when_all_are_there,
    a_draft_is_passed_on,
    a_failed_commit_is_refused,
    a_follower_changes_its_storage_without_a_gap,
    a_light_load_is_a_message_per_segment,
    a_lost_entry_is_cut,
    a_lost_entry_needs_a_majority_of_syncs,
    a_resend_gets_resolved_again,
    a_restarted_entry_begins_anew,
    a_restarted_storage_repeats_its_drafts,
    a_restarted_sync_repeats_its_promises,
    a_restored_sync_begins_anew,
    a_second_life_under_one_name_is_not_accepted,
    a_storage_quorum_makes_a_draft,
    a_sync_far_behind_is_given_the_order,
    a_wiped_sync_votes_when_it_is_a_member_again,
    an_entry_has_so_many_unresolved_segments,
    syncs_that_pick_otherwise_leave_a_position_empty,
    three_syncs_vote,
    two_entries_share_one_order,
    what_a_cut_link_lost_is_said_again,
    what_a_sync_missed_is_said_again,
);
